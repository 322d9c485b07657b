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
[[nodiscard]] number_fit to_double(const decimal& number, std::string_view text, double& to) noexcept;

enum class integer_fit { exact, fraction, out_of_range };

// Exact or nothing: 21.0 and 2e3 are integers too.
[[nodiscard]] integer_fit to_int64(const decimal& number, std::int64_t& to) noexcept;

}  // namespace json_telemetry
