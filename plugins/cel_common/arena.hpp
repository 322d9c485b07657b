// SPDX-License-Identifier: Apache-2.0
// Memory that is freed all at once, and used again without new allocations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace pl::cel {

// Owns its blocks. Objects in it must not need a destructor. One thread at a time.
class arena {
 public:
  // Throws std::bad_alloc.
  void* allocate(std::size_t bytes, std::size_t align) {
    auto at = (position_ + align - 1) / align * align;
    if (blocks_.empty() || at + bytes > blocks_[current_].size) {
      next_block(bytes);
      at = 0;
    }
    position_ = at + bytes;
    used_ += bytes;
    return blocks_[current_].memory.get() + at;
  }
  // Free everything. A few blocks are kept.
  void reset() noexcept {
    if (current_ >= kept_blocks) blocks_.resize(kept_blocks);
    current_ = 0;
    position_ = 0;
    used_ = 0;
  }
  [[nodiscard]] std::size_t used() const noexcept { return used_; }

 private:
  static constexpr std::size_t block_size = std::size_t{16} * 1024, kept_blocks = 8;
  struct block {
    std::unique_ptr<std::byte[]> memory;  // aligned for every fundamental type
    std::size_t size = 0;
  };

  // Continue in the next block that has room, or in a new one.
  void next_block(std::size_t bytes) {
    auto next = blocks_.empty() ? 0 : current_ + 1;
    if (next == blocks_.size() || blocks_[next].size < bytes) {
      const auto size = std::max(bytes, block_size);
      block made{std::make_unique_for_overwrite<std::byte[]>(size), size};
      blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(next), std::move(made));
    }
    current_ = next;
  }

  std::vector<block> blocks_;
  std::size_t current_ = 0, position_ = 0, used_ = 0;
};

}  // namespace pl::cel
