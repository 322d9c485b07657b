// SPDX-License-Identifier: Apache-2.0
#include "checksum.hpp"

#include <array>
#include <cstring>

namespace spool {

namespace {

// Eight bytes at a time, each by a table of its own ("slicing by 8", Kounavis and Berry 2005): no special instructions.
using table = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr table make_table() {
  table t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1U) ^ ((c & 1U) != 0 ? 0x82F63B78U : 0U);
    t[0][i] = c;
  }
  for (std::size_t k = 1; k < t.size(); ++k)
    for (std::size_t i = 0; i < 256; ++i) t[k][i] = (t[k - 1][i] >> 8U) ^ t[0][t[k - 1][i] & 0xFFU];
  return t;
}

constexpr table tables = make_table();

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) noexcept {
  std::uint32_t c = ~before;
  while (bytes.size() >= 8) {
    std::uint32_t low = 0, high = 0;  // little-endian, as all machines that we are built for
    std::memcpy(&low, bytes.data(), 4);
    std::memcpy(&high, bytes.data() + 4, 4);
    low ^= c;
    c = tables[7][low & 0xFFU] ^ tables[6][low >> 8U & 0xFFU] ^ tables[5][low >> 16U & 0xFFU] ^ tables[4][low >> 24U] ^
        tables[3][high & 0xFFU] ^ tables[2][high >> 8U & 0xFFU] ^ tables[1][high >> 16U & 0xFFU] ^
        tables[0][high >> 24U];
    bytes.remove_prefix(8);
  }
  for (const char b : bytes) c = (c >> 8U) ^ tables[0][(c ^ static_cast<unsigned char>(b)) & 0xFFU];
  return ~c;
}

}  // namespace spool
