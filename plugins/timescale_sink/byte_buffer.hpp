// SPDX-License-Identifier: Apache-2.0
// A buffer of bytes in network order whose memory is reused.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace timescale {

template <std::unsigned_integral T>
[[nodiscard]] constexpr T network_order(T v) noexcept {
  if constexpr (std::endian::native == std::endian::big || sizeof(T) == 1) return v;
  T swapped = 0;
  for (unsigned i = 0; i < sizeof(T); ++i) swapped = static_cast<T>(swapped << 8 | (v >> (8 * i) & 0xFF));
  return swapped;
}

class byte_buffer {
 public:
  [[nodiscard]] std::string_view bytes() const noexcept { return {memory_.get(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void truncate(std::size_t size) noexcept { size_ = size; }

  // Clear the buffer. Free its memory if a large row has grown it beyond `keep` bytes.
  void clear(std::size_t keep) noexcept {
    size_ = 0;
    if (capacity_ > keep) {
      memory_.reset();
      capacity_ = 0;
    }
  }

  [[nodiscard]] char* grow(std::size_t n) {
    if (capacity_ - size_ < n) enlarge(n);
    char* const at = memory_.get() + size_;
    size_ += n;
    return at;
  }
  void append(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(grow(bytes.size()), bytes.data(), bytes.size());
  }
  template <std::unsigned_integral T>
  void put(T v) {
    v = network_order(v);
    std::memcpy(grow(sizeof v), &v, sizeof v);
  }

 private:
  void enlarge(std::size_t n) {
    const auto capacity = std::max<std::size_t>({capacity_ * 2, size_ + n, 1024});
    auto memory = std::make_unique_for_overwrite<char[]>(capacity);
    if (size_ != 0) std::memcpy(memory.get(), memory_.get(), size_);
    memory_ = std::move(memory);
    capacity_ = capacity;
  }
  std::unique_ptr<char[]> memory_;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace timescale
