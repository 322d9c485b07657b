// SPDX-License-Identifier: Apache-2.0
// Finds the rotated files of a path in its folder: by number (in.ndjson.2 is older than in.ndjson.1), or by the time of
// their last change. The functions change nothing and are thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lines {

struct rotated_file {
  std::string path;
  std::uint64_t inode = 0, size = 0;
  std::int64_t modified = 0;            // ns since 1970
  std::optional<std::uint32_t> number;  // of in.ndjson.2
  bool compressed = false;
};

// Return the rotated files of `path`, the oldest first: files whose name is that of the path with a number or a time
// added, as by logrotate and file_sink.
[[nodiscard]] std::vector<rotated_file> rotated_files_of(const std::string& path);

// Return those that are newer than the last file that was read. after: this file, if it still exists; modified: the time
// of its last change, when it was read.
[[nodiscard]] std::vector<rotated_file> newer_than(std::vector<rotated_file> all,
                                                   const std::optional<rotated_file>& after, std::int64_t modified);

}  // namespace lines
