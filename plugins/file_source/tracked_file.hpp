// SPDX-License-Identifier: Apache-2.0
// A tracked_file reads one path through rotation and truncation, with ascending positions.
#pragma once

#include "anchor_store.hpp"
#include "line_reader.hpp"
#include "rotation.hpp"

#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <sys/stat.h>
#include <sys/types.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lines {

// A position is base + offset in the file. The first file of a path has base 0, so positions are plain offsets until
// the file is rotated or truncated. The base of the next file is the position at which the previous file ended.
class tracked_file {
 public:
  using notice = std::function<void(const std::string&)>;

  // is_other: returns whether another tracked_file reads the path.
  tracked_file(std::string path, bool follow, notice warn, std::function<bool(const std::string&)> is_other)
      : path_(std::move(path)), follow_(follow), warn_(std::move(warn)), is_other_(std::move(is_other)) {}

  // Open the files so that reading continues at `next`. known: the files as of the last run, oldest first.
  pl::result<void> open(std::uint64_t next, const known_files& known);
  [[nodiscard]] bool is_open() const noexcept { return !files_.empty(); }

  // Read the next lines, with positions instead of offsets. The chunk is empty and at_end is set if there are none now.
  pl::result<chunk> read(limits how, chunk reuse);
  pl::result<void> seek(std::uint64_t next);
  void settled(std::uint64_t next);  // close older files that are no longer needed

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  [[nodiscard]] std::uint64_t end() const;  // position of the current end
  [[nodiscard]] known_files known();        // the open files, with prints of what was read
  [[nodiscard]] bool holds(std::uint64_t inode) const noexcept;
  [[nodiscard]] bool place_changed() noexcept { return std::exchange(place_changed_, false); }

 private:
  struct generation {
    pl::descriptor fd;
    std::string name;  // when it was opened
    std::uint64_t base = 0, inode = 0;
    std::optional<std::uint64_t> end;  // end position; unset: the newest file
    content_hash content;              // of what was read, as far as it is stored
    [[nodiscard]] std::uint64_t size() const;
    [[nodiscard]] std::int64_t modified() const;
  };

  pl::result<generation> open_path(const std::string& path) const;
  [[nodiscard]] std::optional<generation> find_renamed(std::uint64_t inode) const;
  [[nodiscard]] std::optional<generation> find_copy(const file_print& print) const;
  [[nodiscard]] std::optional<generation> locate(const known_file& f, const generation& named) const;
  [[nodiscard]] pl::failure replaced(const std::string& how) const;
  pl::result<void> reopen_once(generation named, const known_files& known);
  void reopen(generation named, const known_files& known);
  void add_rotated(std::int64_t modified, const generation& named);
  void add(generation g, std::uint64_t least_base);
  pl::result<bool> renewed();
  pl::result<void> start_again(const std::string& why);
  void remember_print();
  [[nodiscard]] bool overwritten();
  [[nodiscard]] std::size_t current() const;

  const std::string path_;
  const bool follow_;
  notice warn_;
  std::function<bool(const std::string&)> is_other_;
  std::deque<generation> files_;  // oldest first
  std::uint64_t next_ = 0;
  bool place_changed_ = false;

  file_print print_;  // of the newest file, to notice that it is overwritten in place while it is read
};

}  // namespace lines
