// SPDX-License-Identifier: Apache-2.0
// The lines of one file, in blocks that batches can keep.
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

class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  descriptor& operator=(descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~descriptor();
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Memory from malloc, so that it can be handed to whoever frees it.
struct free_memory {
  void operator()(char* p) const noexcept { std::free(p); }
};
using block = std::unique_ptr<char, free_memory>;

struct line {
  std::string_view text;  // without its end; in the block
  std::uint64_t offset;   // of its first byte
};

struct chunk {
  block memory;
  std::size_t size = 0;  // bytes behind memory
  std::vector<line> lines;
  std::uint64_t next = 0;  // where to read on
  std::uint64_t cut = 0;   // lines that were longer than max_line, and are cut off
  bool at_end = false;     // nothing more is in the file now
};

struct limits {
  std::uint32_t max_rows;
  std::size_t max_bytes;
  std::size_t max_line;
  bool take_last;  // a last line without a line end is a line
};

// Lines from `offset` on. Empty lines are left out. A line longer than max_line becomes its first max_line bytes.
pl::result<chunk> read_lines(int fd, std::uint64_t offset, const limits& how, chunk reuse);

}  // namespace lines
