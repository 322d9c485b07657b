// SPDX-License-Identifier: Apache-2.0
// This function reads the lines of a file, in blocks that batches can own.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lines {

// Memory from malloc, so that a batch can own it and free it.
struct free_memory {
  void operator()(char* p) const noexcept { std::free(p); }
};
using block = std::unique_ptr<char, free_memory>;

struct line {
  std::string_view text;  // without its line end; refers to the block
  std::uint64_t offset;   // of the first byte
};

struct chunk {
  block memory;
  std::size_t size = 0;  // of memory, in bytes
  std::vector<line> lines;
  std::uint64_t next = 0;  // offset at which to continue
  std::uint64_t cut = 0;   // number of lines that were longer than max_line and are truncated
  bool at_end = false;     // the file has no further whole lines at the moment
};

struct limits {
  std::uint32_t max_rows;
  std::size_t max_bytes;
  std::size_t max_line;
  bool take_last;  // accept a last line without a line end
};

// Read lines from `offset` on, without empty lines. A line longer than max_line is truncated to max_line bytes.
pl::result<chunk> read_lines(int fd, std::uint64_t offset, const limits& how, chunk reuse);

}  // namespace lines
