// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace json {

// The first and last bytes of a key: the whole of a short key, and the input of a hash.
struct key_ends {
  static constexpr std::size_t reach = 16;  // up to this length, keys with equal lengths and ends are equal
  std::uint64_t head = 0, tail = 0;

  key_ends() = default;
  explicit key_ends(std::string_view key) noexcept {
    if (key.size() >= 8) {
      std::memcpy(&head, key.data(), 8);
      std::memcpy(&tail, key.data() + key.size() - 8, 8);
    } else if (key.size() >= 4) {
      std::uint32_t first, last;
      std::memcpy(&first, key.data(), 4);
      std::memcpy(&last, key.data() + key.size() - 4, 4);
      head = first;
      tail = last;
    } else if (!key.empty()) {
      const auto byte = [&](std::size_t i) { return static_cast<std::uint64_t>(static_cast<unsigned char>(key[i])); };
      head = byte(0);
      tail = byte(key.size() / 2) << 8 | byte(key.size() - 1);
    }
  }
  bool operator==(const key_ends&) const = default;
  // Return the place in a hash table of 2^bits entries, 1 to 32 bits.
  [[nodiscard]] std::uint32_t place(unsigned bits) const noexcept {
    const auto mixed = (head + tail * 0x9E3779B97F4A7C15) * 0x2545F4914F6CDD1D;
    return static_cast<std::uint32_t>(mixed >> (64 - bits));
  }
};

}  // namespace json
