// SPDX-License-Identifier: Apache-2.0
// FNV-1a (RFC 9923): a hash that is the same on every machine and in every version. Use it for values that are stored
// or looked up after a restart. Do not use it for keys that an outsider chooses: collisions are easy to construct.
#pragma once

#include <cstdint>
#include <string_view>

namespace pl {

[[nodiscard]] constexpr std::uint32_t fnv1a_32(std::string_view bytes) noexcept {
  std::uint32_t hash = 0x811C9DC5U;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193U;
  return hash;
}

[[nodiscard]] constexpr std::uint64_t fnv1a_64(std::string_view bytes) noexcept {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x00000100000001B3U;
  return hash;
}

}  // namespace pl
