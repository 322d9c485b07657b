// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

namespace json {

// text_arena allocates the few texts that cannot be views into the payload (escapes, `extra`) from blocks that live as
// long as the output batch. The host is called once per block instead of once per text.
class text_arena {
 public:
  // Returns memory of the given size in bytes, or throws.
  using block_source = std::function<char*(std::size_t)>;

  // Set the source of the blocks for the next batch, and stop using the previous blocks.
  void begin(block_source source) {
    source_ = std::move(source);
    left_ = 0;
    next_block_ = smallest_block;
  }
  [[nodiscard]] char* allocate(std::size_t bytes) {
    if (bytes > left_) grow(bytes);
    left_ -= bytes;
    return std::exchange(at_, at_ + bytes);
  }
  // Return the unused end of the last allocation.
  void give_back(std::size_t bytes) noexcept {
    at_ -= bytes;
    left_ += bytes;
  }
  [[nodiscard]] std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* const to = allocate(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

 private:
  static constexpr std::size_t smallest_block = 256, largest_block = std::size_t{64} * 1024;

  void grow(std::size_t bytes) {
    left_ = std::max(bytes, next_block_);
    at_ = source_(left_);
    next_block_ = std::min(next_block_ * 4, largest_block);
  }
  block_source source_;
  char* at_ = nullptr;
  std::size_t left_ = 0;
  std::size_t next_block_ = smallest_block;
};

}  // namespace json
