// SPDX-License-Identifier: Apache-2.0
// This file parses JSON numbers without loss, before they are converted to the type of a column.
#pragma once

#include "plain_text.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace json {

// The number (-)digits * 10^exponent. 19 decimal digits always fit into 64 bits. `cut` is set if further digits are not
// zero; a caller that needs more than 19 digits must use the original text.
struct decimal {
  static constexpr int max_digits = 19;
  std::uint64_t digits = 0;
  std::int32_t exponent = 0;
  bool negative = false;
  bool cut = false;
  bool integer = true;  // written without a fraction and without an exponent
};

// Scan the number (grammar of RFC 8259) that begins at `at`, and advance `at` past the last character that fits. Return
// false if that is not the end of a valid number.
[[nodiscard]] bool scan_long_decimal(const char*& at, const char* end, decimal& to) noexcept;

// As scan_long_decimal, for at most 19 digits without an exponent.
[[nodiscard]] inline bool scan_plain_decimal(const char*& at, const char* end, decimal& to) noexcept {
  const char* p = at;
  std::uint64_t digits = 0;
  const bool negative = p != end && *p == '-';
  if (negative) ++p;
  const char* const first = p;
  p = take_digits(p, end, digits);
  const auto whole = p - first;
  std::ptrdiff_t fraction = 0;
  if (p != end && *p == '.') {
    const char* const point = p++;
    p = take_digits(p, end, digits);
    fraction = p - point - 1;
    if (fraction == 0) return scan_long_decimal(at, end, to);
  }
  const bool usual = whole > 0 && whole + fraction <= decimal::max_digits && (*first != '0' || whole == 1);
  if (!usual || (p != end && (*p == 'e' || *p == 'E'))) return scan_long_decimal(at, end, to);
  to = {digits, static_cast<std::int32_t>(-fraction), negative, false, fraction == 0};
  at = p;
  return true;
}

// As scan_long_decimal, but inline for the usual case: a number and the character after it within eight bytes.
[[nodiscard]] inline bool scan_decimal(const char*& at, const char* end, decimal& to) noexcept {
  if constexpr (std::endian::native != std::endian::little) return scan_plain_decimal(at, end, to);
  const bool negative = at != end && *at == '-';
  const char* const first = at + (negative ? 1 : 0);
  if (end - first < 8) return scan_plain_decimal(at, end, to);
  const digit_bytes bytes(eight_bytes(first));
  const auto whole = bytes.count();
  if (whole == 8 || whole == 0 || (*first == '0' && whole != 1)) return scan_plain_decimal(at, end, to);
  auto values = bytes.values;
  auto size = whole, fraction = 0U;
  if (first[whole] == '.') {
    const auto others = bytes.others & (bytes.others - 1);
    if (others == 0) return scan_plain_decimal(at, end, to);
    size = static_cast<unsigned>(std::countr_zero(others)) / 8;
    fraction = size - whole - 1;
    const auto before_point = (std::uint64_t{1} << (8 * whole)) - 1;
    values = (values & before_point) | (values >> 8 & ~before_point);
  }
  const char next = first[size];
  if ((fraction == 0 && size != whole) || next == 'e' || next == 'E') return scan_plain_decimal(at, end, to);
  to = {number_of_digits(values, whole + fraction), -static_cast<std::int32_t>(fraction), negative, false,
        fraction == 0};
  at = first + size;
  return true;
}

// Parse `text` as one number; nothing if it is not entirely a number.
[[nodiscard]] std::optional<decimal> parse_decimal(std::string_view text) noexcept;

enum class number_fit { exact, rounded, too_large, too_small };

// Convert to the nearest double; `text` is the original text of `number`. exact: also returned for a fraction, although
// a double may round it; rounded: an integer that a double cannot represent; too_small: the nearest double of a nonzero
// number is 0.
[[nodiscard]] number_fit to_double_from_text(const decimal& number, std::string_view text, double& to) noexcept;
[[nodiscard]] inline number_fit to_double(const decimal& number, std::string_view text, double& to) noexcept {
  // Integers up to 2^53 and powers up to 10^22 are exact doubles, so that one division rounds correctly (Clinger 1990).
  constexpr double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  constexpr std::uint64_t exact_integers = 1ULL << 53;
  if (number.digits > exact_integers || number.cut || number.exponent > 0 || number.exponent < -22)
    return to_double_from_text(number, text, to);
  const double magnitude = static_cast<double>(number.digits) / powers[-number.exponent];
  to = number.negative ? -magnitude : magnitude;
  return number_fit::exact;
}

enum class integer_fit { exact, fraction, out_of_range };

// Convert to an integer without rounding. 21.0 and 2e3 are integers, too.
[[nodiscard]] integer_fit to_int64(const decimal& number, std::int64_t& to) noexcept;

}  // namespace json
