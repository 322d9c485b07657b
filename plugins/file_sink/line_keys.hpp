// SPDX-License-Identifier: Apache-2.0
// line_keys tracks which rows a file and its rotated files contain, identified by the values of some columns.
#pragma once

#include <file_common/line_file.hpp>

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

// A 128-bit hash of a row's values. The hash uses a random secret of this process, so that a sender who chooses the
// values cannot cause collisions.
struct line_key {
  std::uint64_t low = 0, high = 0;
  bool operator==(const line_key&) const = default;
  struct hasher {
    std::size_t operator()(const line_key& k) const noexcept { return k.low; }
  };
};

// SipHash-2-4 with 128 bits of output.
[[nodiscard]] line_key siphash(std::string_view bytes, const line_key& secret) noexcept;

// A column of a key. An optional one may be missing or null, which then counts as a value.
struct key_column {
  std::string name;
  bool optional = false;
};

// line_key_reader computes the keys of lines. It is not thread-safe.
class line_key_reader {
 public:
  explicit line_key_reader(std::vector<key_column> columns);
  ~line_key_reader();
  // Return the key; nothing if a column that is not optional is missing or null, or the line is not a JSON object.
  // Numbers are compared in their original text, strings without their escapes.
  std::optional<line_key> read(std::string_view line);

 private:
  class scanner;
  std::unique_ptr<scanner> scanner_;
  std::string text_;
  line_key secret_;
};

// line_keys holds the keys of all lines. It follows the file through rotation, also by other programs, and drops the
// keys of deleted files. It is not thread-safe.
class line_keys {
 public:
  // durable: sync the lines of other writers before they count.
  line_keys(std::filesystem::path path, std::vector<key_column> columns, bool durable);

  std::optional<line_key> key_of(std::string_view line) { return reader_.read(line); }
  [[nodiscard]] bool contains(const line_key& key) const { return file_of_.contains(key); }

  // Return whether there is much to read before the keys are complete. `now` is the status of the locked file.
  [[nodiscard]] bool far_behind(const struct stat& now) const;
  // Read new lines up to the size in `now`. The lock may be released meanwhile, because these lines do not change.
  result<void> catch_up(const struct stat& now);
  // Add the keys of lines that this writer has appended. `end` is the new size of the file.
  void appended(std::span<const line_key> keys, off_t end);

  [[nodiscard]] std::uint64_t lines_read() const noexcept { return lines_read_; }

 private:
  using file_id = std::uint32_t;
  struct identity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const identity&) const = default;
  };
  // A file that was read to its end. The name is empty if another program has renamed the file.
  struct earlier_file {
    file_id id;
    identity is;
    std::filesystem::path name;
  };
  static identity identity_of(const struct stat& s) { return {s.st_dev, s.st_ino}; }

  result<void> find_files(const struct stat& now);
  result<bool> finish_current();
  result<void> read_rotated(bool current_is_kept);
  result<void> read_lines(int fd, const std::string& name, off_t& from, off_t end, file_id id);
  void add_line(std::string_view line, file_id id);
  void drop_stale_keys();

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
