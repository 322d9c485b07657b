// SPDX-License-Identifier: Apache-2.0
// A file of whole lines that several writers, threads and processes may append to at once, and that a crash leaves
// whole.
#pragma once

#include <pipeline/result.hpp>

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::files {

// A file descriptor, closed when it goes out of scope.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  descriptor& operator=(descriptor&& o) noexcept {
    if (this != &o) {
      reset();
      fd_ = std::exchange(o.fd_, -1);
    }
    return *this;
  }
  ~descriptor() { reset(); }
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

struct rotation {
  std::uint64_t max_size = 0;           // bytes; 0: never by size
  std::chrono::nanoseconds max_age{0};  // 0: never by age
  std::uint32_t max_files = 0;          // rotated files that are kept; 0: all
};

struct line_file_options {
  std::filesystem::path path;
  mode_t mode = 0640;
  bool sync = true;  // fdatasync before append answers
  rotation rotate;
  std::chrono::nanoseconds lock_timeout = std::chrono::seconds(1);
};

// Where rotated files go, and when they were rotated: events.ndjson -> events.20261124T182806.123456Z.ndjson
[[nodiscard]] std::filesystem::path rotated_name(const std::filesystem::path& path,
                                                 std::chrono::sys_time<std::chrono::microseconds> at);

// All that are there, the oldest first.
[[nodiscard]] std::vector<std::filesystem::path> rotated_files(const std::filesystem::path& path);

// Chooses what to append once it has seen what is in the file. Called by line_file::append alone.
class line_chooser {
 public:
  virtual ~line_chooser() = default;
  // Has it so much to read that others should be able to write meanwhile? now: the file, while it is locked.
  virtual bool far_behind(const struct stat& now) = 0;
  // Reads what is in the file up to now's size.
  virtual result<void> catch_up(const struct stat& now) = 0;
  // Whole lines, or nothing. The file is locked and all of it has been read.
  virtual std::string_view choose() = 0;
  virtual void appended(off_t end) = 0;  // end: the file's size
};

// Every append takes the file's lock (flock), looks whether the path still names the file that is open (someone may
// have rotated it), cuts off a torn last line that a crash left, and writes its lines. Either all of them are in the
// file afterwards, or none.
class line_file {
 public:
  using warning = std::function<void(const std::string&)>;

  line_file(line_file_options options, warning warn);

  // Opens the file, with its folder, and repairs it. Fatal where only a person can help (a folder in its place, no
  // permission), else retry.
  result<void> open();
  // Whole lines: ends in '\n', or is empty.
  result<void> append(std::string_view lines);
  result<void> append(line_chooser& chooser);
  // Makes what was appended durable (for `sync = false`).
  result<void> sync();
  result<void> close();
  // Could `open` succeed? Changes nothing.
  [[nodiscard]] result<void> check() const;

  [[nodiscard]] std::uint64_t rotations() const noexcept { return rotations_; }
  [[nodiscard]] std::uint64_t repaired_bytes() const noexcept { return repaired_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  struct lock_guard;
  class fixed_lines;

  result<void> open_file();
  result<void> lock();
  result<bool> append_once(line_chooser& chooser);
  result<bool> still_there(struct stat& now);
  result<void> repair(struct stat& now);
  result<void> write_all(std::string_view lines, off_t before);
  [[nodiscard]] bool rotation_due(const struct stat& now, std::size_t more);
  result<void> rotate();
  void prune();
  [[nodiscard]] failure problem(std::string_view what, int error) const;

  line_file_options options_;
  std::string name_;
  warning warn_;
  descriptor fd_;
  bool renamed_ = false;  // what is open has another name now
  bool lock_missing_told_ = false;
  std::optional<std::chrono::system_clock::time_point> born_;
  std::uint64_t rotations_ = 0, repaired_ = 0;
};

}  // namespace pl::files
