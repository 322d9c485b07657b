// SPDX-License-Identifier: Apache-2.0
// Functions that look at several bytes of a document at once. They never read beyond its end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace json {

[[nodiscard]] inline std::uint64_t eight_bytes(const char* at) noexcept {
  std::uint64_t eight;
  std::memcpy(&eight, at, sizeof eight);
  return eight;
}

// Return the first byte from `at` on that ends a run of plain ASCII: a quote, backslash, control or non-ASCII byte.
[[nodiscard]] inline const char* end_of_plain(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  constexpr std::ptrdiff_t width = sizeof(__m128i);
  for (; end - at >= width; at += width) {
    const auto bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    // As signed numbers, non-ASCII bytes are negative, and therefore below 0x20, like control characters.
    const auto special = _mm_or_si128(
        _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)),
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
    const auto hits = static_cast<unsigned>(_mm_movemask_epi8(special));
    if (hits != 0) return at + std::countr_zero(hits);
  }
#endif
  if constexpr (std::endian::native == std::endian::little) {
    constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    for (; end - at >= 8; at += 8) {
      const auto eight = eight_bytes(at);
      const auto quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
      // A borrow can mark bytes above the first hit only; the lowest mark is always right.
      const auto hit =
          (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((eight - ones * 0x20) & ~eight) | eight) &
          tops;
      if (hit != 0) return at + (std::countr_zero(hit) >> 3);
    }
  }
  for (; at != end; ++at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\') break;
  }
  return at;
}

// Eight bytes with the value of each digit in place of the digit, and the places of the other bytes.
struct digit_bytes {
  std::uint64_t values = 0;
  // The highest bit of each byte that is not a digit. A byte that is not ASCII can mark the byte after it, too.
  std::uint64_t others = 0;

  explicit digit_bytes(std::uint64_t eight) noexcept
      : values(eight ^ 0x3030303030303030), others(((values + 0x7676767676767676) | values) & 0x8080808080808080) {}
  // Return the number of digits at the beginning, or 8.
  [[nodiscard]] unsigned count() const noexcept {
    return others == 0 ? 8U : static_cast<unsigned>(std::countr_zero(others)) / 8;
  }
};

// Return the number of which `values` has the first `count` digits, 1 to 8, in the order of the text.
[[nodiscard]] inline std::uint64_t number_of_digits(std::uint64_t values, unsigned count) noexcept {
  constexpr std::uint64_t pairs = 0x000000FF000000FF;
  values <<= 8 * (8 - count);  // the bytes that move in are leading zeros
  values = values * 10 + (values >> 8);
  return ((values & pairs) * 0x000F424000000064 + ((values >> 16) & pairs) * 0x0000271000000001) >> 32;
}

// Append the decimal digits from `at` on to `digits`, and return their end. The sum wraps around after 19 digits.
[[nodiscard]] inline const char* take_digits(const char* at, const char* end, std::uint64_t& digits) noexcept {
  if constexpr (std::endian::native == std::endian::little) {
    constexpr std::uint64_t powers[] = {1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};
    while (end - at >= 8) {
      const digit_bytes bytes(eight_bytes(at));
      const auto count = bytes.count();
      if (count == 0) return at;
      digits = digits * powers[count] + number_of_digits(bytes.values, count);
      at += count;
      if (count != 8) return at;
    }
  }
  for (; at != end; ++at) {
    const auto digit = static_cast<unsigned>(static_cast<unsigned char>(*at)) - '0';
    if (digit > 9) break;
    digits = digits * 10 + digit;
  }
  return at;
}

}  // namespace json
