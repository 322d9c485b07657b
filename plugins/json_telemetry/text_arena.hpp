// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

namespace json_telemetry {

// Bytes for the few texts that can't be views into the payload (escapes, `extra`), cut from blocks that live as long as
// the output batch: one call of the host per block instead of one per text.
class text_arena {
 public:
  // Answers memory of that many bytes, or throws.
  using block_source = std::function<char*(std::size_t)>;

  // Where the blocks of the next batch come from. Forgets the old ones.
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
  // The last allocation was larger than needed.
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

}  // namespace json_telemetry
