// SPDX-License-Identifier: Apache-2.0
// A JSON number as it was written, before anybody decided what to hold it in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace json_telemetry {

// The number is (-)digits * 10^exponent. 19 decimal digits always fit into 64 bits; what lies behind them is only known
// to be there (`cut`), so whoever needs more than 19 goes back to the text.
struct decimal {
  static constexpr int max_digits = 19;
  std::uint64_t digits = 0;
  std::int32_t exponent = 0;
  bool negative = false;
  bool cut = false;
  bool integer = true;  // written without a fraction and without an exponent
};

// Scans the number (RFC 8259's grammar) that begins at `at`. Leaves `at` behind the last character that fits; false
// where no number ends there.
[[nodiscard]] bool scan_long_decimal(const char*& at, const char* end, decimal& to) noexcept;

// The same. Inline for numbers of at most 19 digits without an exponent: nearly all of them.
[[nodiscard]] inline bool scan_decimal(const char*& at, const char* end, decimal& to) noexcept {
  const char* p = at;
  std::uint64_t digits = 0;
  const auto take_digits = [&] {
    for (; p != end; ++p) {
      const auto digit = static_cast<unsigned>(static_cast<unsigned char>(*p)) - '0';
      if (digit > 9) return;
      digits = digits * 10 + digit;
    }
  };
  const bool negative = p != end && *p == '-';
  if (negative) ++p;
  const char* const first = p;
  take_digits();
  const auto whole = p - first;
  std::ptrdiff_t fraction = 0;
  if (p != end && *p == '.') {
    const char* const point = p++;
    take_digits();
    fraction = p - point - 1;
    if (fraction == 0) return scan_long_decimal(at, end, to);
  }
  const bool usual = whole > 0 && whole + fraction <= decimal::max_digits && (*first != '0' || whole == 1);
  if (!usual || (p != end && (*p == 'e' || *p == 'E'))) return scan_long_decimal(at, end, to);
  to = {digits, static_cast<std::int32_t>(-fraction), negative, false, fraction == 0};
  at = p;
  return true;
}

// All of `text` is one number.
[[nodiscard]] std::optional<decimal> parse_decimal(std::string_view text) noexcept;

enum class number_fit { exact, rounded, too_large, too_small };

// The nearest double. `text` is what `number` was scanned from. exact: also for fractions, which every double rounds;
// rounded: an integer, written as such, that a double can't hold; too_small: not zero, and yet the nearest double is.
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

// Exact or nothing: 21.0 and 2e3 are integers too.
[[nodiscard]] integer_fit to_int64(const decimal& number, std::int64_t& to) noexcept;

}  // namespace json_telemetry
