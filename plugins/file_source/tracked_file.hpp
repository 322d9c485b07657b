// SPDX-License-Identifier: Apache-2.0
// One path that is read, through rotation and truncation, with positions that only ever grow.
#pragma once

#include "line_reader.hpp"

#include <pipeline/result.hpp>

#include <sys/stat.h>
#include <sys/types.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace lines {

// Where a file's first byte stands in the positions of its path, and which file that is. Kept over restarts.
struct anchor {
  std::uint64_t base = 0;
  std::uint64_t inode = 0;  // 0: not known
};

// Position = base + offset in the file. The first file of a path has base 0, so positions are plain offsets until it is
// rotated or truncated; the next file begins where the one before ended.
class tracked_file {
 public:
  using notice = std::function<void(const std::string&)>;

  tracked_file(std::string path, bool follow, notice warn)
      : path_(std::move(path)), follow_(follow), warn_(std::move(warn)) {}

  // Opens the file so that reading goes on at `next`.
  pl::result<void> open(std::uint64_t next, anchor known);
  [[nodiscard]] bool is_open() const noexcept { return !files_.empty(); }

  // The next lines, with positions in place of offsets. Empty and at_end: nothing now.
  pl::result<chunk> read(limits how, chunk reuse);
  pl::result<void> seek(std::uint64_t next);
  void settled(std::uint64_t next);  // older files are not needed any more

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  [[nodiscard]] std::uint64_t end() const;  // position of what is the end now
  [[nodiscard]] anchor place() const;       // of the newest file
  [[nodiscard]] bool place_changed() noexcept { return std::exchange(place_changed_, false); }

 private:
  struct generation {
    descriptor fd;
    std::uint64_t base = 0, inode = 0;
    std::optional<std::uint64_t> end;  // position at which it was left; nothing: the newest
  };

  pl::result<generation> open_path(const std::string& path) const;
  std::optional<generation> find_renamed(std::uint64_t inode) const;
  pl::result<bool> renewed();
  void add(generation g);
  [[nodiscard]] std::size_t current() const;

  const std::string path_;
  const bool follow_;
  notice warn_;
  std::deque<generation> files_;  // oldest first
  std::uint64_t next_ = 0;
  bool place_changed_ = false;
};

}  // namespace lines
