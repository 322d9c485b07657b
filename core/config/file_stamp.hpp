// SPDX-License-Identifier: Apache-2.0
// What identifies the contents of a file without reading it. Any thread.
#pragma once

#include <cstdint>
#include <string>

namespace pl::config {

struct file_stamp {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t modified_ns = 0;
  friend bool operator==(const file_stamp&, const file_stamp&) = default;
};

/// Follow symbolic links. A file that does not exist has the stamp {}.
[[nodiscard]] file_stamp stamp_of(const std::string& path);

}  // namespace pl::config
