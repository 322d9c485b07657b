// SPDX-License-Identifier: Apache-2.0
#include "checksum.hpp"

#include <array>
#include <cstring>

namespace spool {

namespace {

// The tables for processing eight bytes per step ("slicing by 8", Kounavis and Berry 2005). The algorithm needs no
// special CPU instructions.
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

// Polynomials modulo the generator P, reflected: the highest bit is the coefficient of x^0.
constexpr std::uint32_t generator = 0x82F63B78U;
constexpr std::uint32_t one = 0x80000000U;
// The smallest n > 0 with x^n = 1, because P is (x + 1) times a primitive polynomial of degree 31.
constexpr std::uint64_t order = (1ULL << 31U) - 1;

constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = one; bit != 0; bit >>= 1U) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1U) ^ ((b & 1U) != 0 ? generator : 0U);
  }
  return product;
}

constexpr auto squares = [] {
  std::array<std::uint32_t, 31> all{};  // x^(2^i)
  all[0] = one >> 1U;
  for (std::size_t i = 1; i < all.size(); ++i) all[i] = multiply(all[i - 1], all[i - 1]);
  return all;
}();

constexpr std::uint32_t power_of_x(std::uint64_t n) {
  std::uint32_t power = one;
  n %= order;
  for (std::size_t i = 0; n != 0; ++i, n >>= 1U)
    if ((n & 1U) != 0) power = multiply(power, squares[i]);
  return power;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) noexcept {
  std::uint32_t c = ~before;
  while (bytes.size() >= 8) {
    std::uint32_t low = 0, high = 0;  // little-endian, like all supported machines
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

namespace crc_register {

std::uint32_t after(std::uint32_t before, std::string_view bytes) noexcept { return ~crc32c(bytes, ~before); }

std::uint32_t after_zeros(std::uint32_t before, std::uint64_t count) noexcept {
  return multiply(power_of_x(8 * (count % order)), before);
}

std::uint32_t before_zeros(std::uint32_t after, std::uint64_t count) noexcept {
  return multiply(power_of_x(order - (8 * (count % order)) % order), after);
}

}  // namespace crc_register

}  // namespace spool
