// SPDX-License-Identifier: Apache-2.0
// A file_lock (flock) protects appending to a file, rotating it and rewriting it. The file may have been renamed while
// the caller waited for the lock, so check with look_at afterwards. A file_lock is used by one thread at a time.
#pragma once

#include <pipeline/result.hpp>

#include <sys/stat.h>

#include <chrono>
#include <filesystem>

namespace pl::files {

enum class lock_outcome {
  locked,
  busy,        // the lock was not released within the timeout
  unsupported  // the file system does not support locks; errno is set
};

// The lock is held until release(), or the end of its scope. The class borrows the descriptor.
class file_lock {
 public:
  explicit file_lock(int fd) noexcept : fd_(fd) {}
  file_lock(const file_lock&) = delete;
  file_lock& operator=(const file_lock&) = delete;
  ~file_lock() { release(); }

  [[nodiscard]] lock_outcome acquire(std::chrono::nanoseconds timeout);
  void release() noexcept;

 private:
  int fd_;
  bool held_ = false;
};

// Set still_named to whether the path still names the open file, and `now` to the status of the open file. Return an
// errno on failure, otherwise 0.
[[nodiscard]] int look_at(const std::filesystem::path& path, int fd, struct stat& now, bool& still_named);

}  // namespace pl::files
