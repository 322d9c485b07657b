// SPDX-License-Identifier: Apache-2.0
#include "decimal.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace json {

namespace {

// Return whether the integer `text` (JSON grammar, no sign) equals `v` exactly.
bool is_exactly(std::string_view text, double v) noexcept {
  std::array<char, 400> written;  // the largest double has 309 digits before the point
  const auto end = std::to_chars(written.data(), written.data() + written.size(), v, std::chars_format::fixed, 0);
  return end.ec == std::errc{} && text == std::string_view(written.data(), end.ptr);
}

// Scan what follows the 'e': an optional sign and digits.
bool scan_exponent(const char*& at, const char* end, std::int32_t& to) noexcept {
  const bool negative = at != end && *at == '-';
  if (at != end && (*at == '-' || *at == '+')) ++at;
  const char* const first = at;
  for (; at != end && *at >= '0' && *at <= '9'; ++at)
    if (to < 100'000'000) to = to * 10 + (*at - '0');  // already out of range for doubles and times; avoids overflow
  if (negative) to = -to;
  return at != first;
}

}  // namespace

number_fit to_double_from_text(const decimal& number, std::string_view text, double& to) noexcept {
  // std::from_chars converts the magnitude; the sign is applied afterwards.
  const auto magnitude = number.negative ? text.substr(1) : text;
  const auto parsed = std::from_chars(magnitude.data(), magnitude.data() + magnitude.size(), to);
  // Libraries leave different values in `to` on overflow and underflow; the decimal determines which of both happened.
  const bool failed = parsed.ec != std::errc{} || std::isinf(to);
  if (number.digits == 0) {
    to = 0;
  } else if (failed || to == 0) {
    const bool small = (parsed.ec == std::errc{} && to == 0) || number.exponent < 0;
    to = 0;
    return small ? number_fit::too_small : number_fit::too_large;
  }
  const bool exact = !number.integer || is_exactly(magnitude, to);
  if (number.negative) to = -to;
  return exact ? number_fit::exact : number_fit::rounded;
}

bool scan_long_decimal(const char*& at, const char* end, decimal& to) noexcept {
  const auto is_digit = [&] { return at != end && *at >= '0' && *at <= '9'; };
  int count = 0;
  const auto take = [&](bool fraction) {
    const auto digit = static_cast<unsigned>(*at++ - '0');
    if (count < decimal::max_digits) {
      to.digits = to.digits * 10 + digit;
      if (to.digits != 0) ++count;
      if (fraction) --to.exponent;
      return;
    }
    to.cut |= digit != 0;
    if (!fraction) ++to.exponent;
  };

  to = {};
  if (at != end && *at == '-') {
    to.negative = true;
    ++at;
  }
  if (!is_digit()) return false;
  if (*at == '0') {
    ++at;
    if (is_digit()) return false;  // a leading zero
  } else {
    while (is_digit()) take(false);
  }
  if (at != end && *at == '.') {
    ++at;
    to.integer = false;
    if (!is_digit()) return false;
    while (is_digit()) take(true);
  }
  if (at == end || (*at != 'e' && *at != 'E')) return true;
  ++at;
  to.integer = false;
  std::int32_t exponent = 0;
  if (!scan_exponent(at, end, exponent)) return false;
  to.exponent += exponent;
  return true;
}

std::optional<decimal> parse_decimal(std::string_view text) noexcept {
  decimal number;
  const char* at = text.data();
  const char* const end = at + text.size();
  if (!scan_decimal(at, end, number) || at != end) return std::nullopt;
  return number;
}

integer_fit to_int64(const decimal& number, std::int64_t& to) noexcept {
  std::uint64_t magnitude = number.digits;
  std::int32_t exponent = number.exponent;
  while (exponent < 0 && magnitude != 0) {
    if (magnitude % 10 != 0) return integer_fit::fraction;
    magnitude /= 10;
    ++exponent;
  }
  if (number.cut) return number.exponent <= 0 ? integer_fit::fraction : integer_fit::out_of_range;
  while (exponent > 0 && magnitude != 0) {
    if (__builtin_mul_overflow(magnitude, std::uint64_t{10}, &magnitude)) return integer_fit::out_of_range;
    --exponent;
  }
  const auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + (number.negative ? 1 : 0);
  if (magnitude > limit) return integer_fit::out_of_range;
  // Negate as unsigned, because +2^63 does not fit into int64.
  to = static_cast<std::int64_t>(number.negative ? 0 - magnitude : magnitude);
  return integer_fit::exact;
}

}  // namespace json
