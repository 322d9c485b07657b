// SPDX-License-Identifier: Apache-2.0
// Which rows a file has already, by the values of some columns: over all of its lines and those of the rotated files.
#pragma once

#include "line_file.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pl::files {

// 128 bits that stand for a row's values. With the random secret of this process, so that nobody who chooses the values
// can make two rows look the same.
struct line_key {
  std::uint64_t low = 0, high = 0;
  bool operator==(const line_key&) const = default;
  struct hasher {
    std::size_t operator()(const line_key& k) const noexcept { return k.low; }
  };
};

// SipHash-2-4 with 128 bits of output.
[[nodiscard]] line_key siphash(std::string_view bytes, const line_key& secret) noexcept;

// Reads the values out of lines. Not for several threads at once.
class line_key_reader {
 public:
  explicit line_key_reader(std::vector<std::string> columns);
  ~line_key_reader();
  // Nothing where a column is missing or null, or the line is no JSON object. Numbers are compared as they are written;
  // strings however they are escaped.
  std::optional<line_key> read(std::string_view line);

 private:
  class scanner;
  std::unique_ptr<scanner> scanner_;
  std::string text_;
  line_key secret_;
};

// The keys of all lines. Follows the file through rotation, also by others, and forgets the lines of files that are gone.
// Not for several threads at once.
class line_keys {
 public:
  // durable: others' lines count once they are on the disk.
  line_keys(std::filesystem::path path, std::vector<std::string> columns, bool durable);

  std::optional<line_key> key_of(std::string_view line) { return reader_.read(line); }
  [[nodiscard]] bool contains(const line_key& key) const { return file_of_.contains(key); }

  // Would it take long to read what is missing? `now`: the file as it is under its lock.
  [[nodiscard]] bool far_behind(const struct stat& now) const;
  // Reads what is missing, up to the size in `now`. What was in the file when it was locked may be read without the lock.
  result<void> catch_up(const struct stat& now);
  // These lines of ours are in the file, whose size is `end` now.
  void appended(std::span<const line_key> keys, off_t end);

  [[nodiscard]] std::uint64_t lines_read() const noexcept { return lines_read_; }

 private:
  using file_id = std::uint32_t;
  struct identity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const identity&) const = default;
  };
  // A file that is read to its end. Without a name: renamed by another program.
  struct earlier_file {
    file_id id;
    identity is;
    std::filesystem::path name;
  };
  static identity identity_of(const struct stat& s) { return {s.st_dev, s.st_ino}; }

  result<void> look_around(const struct stat& now);
  result<bool> leave_current();
  result<void> read_rotated(bool current_is_kept);
  result<void> read_lines(int fd, const std::string& name, off_t& from, off_t end, file_id id);
  void take_line(std::string_view line, file_id id);
  void forget_others();

  const std::filesystem::path path_;
  const bool durable_;
  line_key_reader reader_;
  std::unordered_map<line_key, file_id, line_key::hasher> file_of_;
  std::vector<earlier_file> earlier_;
  descriptor current_;
  identity current_is_;
  file_id current_id_ = 0, last_id_ = 0;
  off_t read_to_ = 0;
  std::uint64_t lines_read_ = 0;
};

}  // namespace pl::files
