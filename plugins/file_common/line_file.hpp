// SPDX-License-Identifier: Apache-2.0
// A line_file appends whole lines to a file that several writers, threads and processes share. After a crash, the next
// open or append removes an incomplete last line. Each writer has its own line_file, which is not thread-safe.
#pragma once

#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <file_common/file_lock.hpp>
#include <file_common/rotated_files.hpp>
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

namespace pl::files {

struct rotation {
  std::uint64_t max_size = 0;           // bytes; 0: never by size
  std::chrono::nanoseconds max_age{0};  // 0: never by age
  std::uint32_t max_files = 0;          // number of rotated files to keep; 0: all
};

struct line_file_options {
  std::filesystem::path path;
  mode_t mode = 0640;
  bool sync = true;            // fdatasync before append returns
  bool keep_unsynced = false;  // with `sync = false`: if sync() fails, the lines since the last one are written again
  rotation rotate;
  std::chrono::nanoseconds lock_timeout = std::chrono::seconds(1);
};

// line_chooser selects the lines to append, depending on the content of the file. Only line_file::append calls it.
class line_chooser {
 public:
  virtual ~line_chooser() = default;
  // Return whether there is so much to read that the lock should be released meanwhile. `now` is the locked file.
  virtual bool far_behind(const struct stat& now) = 0;
  // Read the file up to the size in `now`.
  virtual result<void> catch_up(const struct stat& now) = 0;
  // Return whole lines, or nothing. The file is locked and was read completely.
  virtual std::string_view choose() = 0;
  virtual void appended(off_t end) = 0;  // end: the new size of the file
};

// Every append takes the file's lock (flock), checks that the path still names the open file (another writer may have
// rotated it), truncates a torn last line from a crash, and writes its lines. Afterwards either all lines are in the
// file, or none.
class line_file {
 public:
  using warning = std::function<void(const std::string&)>;

  line_file(line_file_options options, warning warn);

  // Open the file and repair it; create it and its folder if necessary. The failure is fatal if an operator must act (a
  // folder of that name, no permission), otherwise retry.
  result<void> open();
  // Append whole lines: `lines` must end with '\n' or be empty.
  result<void> append(std::string_view lines);
  result<void> append(line_chooser& chooser);
  // Make the appended lines durable (for `sync = false`). After a failure, nothing is appended until the lines that are
  // not synced have been written again and synced, here or in append: the system may have dropped them.
  result<void> sync();
  result<void> close();
  // Check whether open() is likely to succeed, without changing anything.
  [[nodiscard]] result<void> check() const;

  [[nodiscard]] std::uint64_t rotations() const noexcept { return rotations_; }
  [[nodiscard]] std::uint64_t repaired_bytes() const noexcept { return repaired_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  class fixed_lines;

  result<void> open_file();
  result<void> acquire(file_lock& lock);
  result<bool> append_once(line_chooser& chooser);
  result<bool> still_there(struct stat& now);
  result<void> repair(struct stat& now);
  result<void> write_all(std::string_view lines, off_t before);
  result<void> write_again(struct stat& now);
  result<void> remove_leftover(struct stat& now);
  result<void> sync_locked();
  [[nodiscard]] bool rotation_due(const struct stat& now, std::size_t more);
  result<void> rotate();
  void prune();
  [[nodiscard]] failure problem(std::string_view what, int error) const;

  line_file_options options_;
  std::string name_;
  warning warn_;
  descriptor fd_;
  bool renamed_ = false;  // the path no longer names the open file
  bool lock_missing_logged_ = false;
  std::optional<std::chrono::system_clock::time_point> born_;
  std::uint64_t rotations_ = 0, repaired_ = 0;
  // Bytes that a failed append has left in the file: it could not be truncated.
  struct leftover {
    off_t begin, end;
  };
  std::optional<leftover> leftover_;
  // Lines that are not synced (keep_unsynced), and their place in the open file, if they are there.
  std::string unsynced_;
  std::optional<off_t> unsynced_at_;
  bool write_again_ = false;
};

}  // namespace pl::files
