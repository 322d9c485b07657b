// SPDX-License-Identifier: Apache-2.0
#include "../decimal.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

using namespace json;

namespace {

struct as_double {
  number_fit fit;
  double value;
};
as_double read_double(const std::string& text) {
  const auto number = parse_decimal(text);
  REQUIRE_MESSAGE(number.has_value(), text);
  double v = 12345;
  const auto fit = to_double(*number, text, v);
  return {fit, v};
}
struct as_int {
  integer_fit fit;
  std::int64_t value;
};
as_int read_int(const std::string& text) {
  const auto number = parse_decimal(text);
  REQUIRE_MESSAGE(number.has_value(), text);
  std::int64_t v = 12345;
  const auto fit = to_int64(*number, v);
  return {fit, v};
}

}  // namespace

TEST_CASE("numbers follow JSON's grammar") {
  for (const std::string good : {"0", "-0", "1", "10", "-17", "0.5", "1.25e3", "1E+2", "1e-2", "0e0", "0.0e-7",
                                 "123456789012345678901234567890"})
    CHECK_MESSAGE(parse_decimal(good).has_value(), good);
  for (const std::string bad : {"", "-", "+1", "01", "-01", "00", "1.", ".5", "1e", "1e+", "1.e2", "0x1F", "1 ", " 1",
                                "1_0", "NaN", "Infinity", "1e5.5", "--1"})
    CHECK_MESSAGE(!parse_decimal(bad).has_value(), bad);
}

TEST_CASE("doubles are the nearest ones") {
  for (const std::string text :
       {"21.5", "0.1", "1e22", "1e23", "123456.789e-10", "9007199254740991", "1.7976931348623157e308", "4.9e-324",
        "2.2250738585072014e-308", "0.30000000000000004", "8.41e21", "1234567890.12345678901234567890"}) {
    CAPTURE(text);
    const auto got = read_double(text);
    CHECK(got.fit == number_fit::exact);
    CHECK(got.value == std::strtod(text.c_str(), nullptr));
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    char text[64];
    const auto v = std::bit_cast<double>(random());
    if (!std::isfinite(v)) continue;
    std::snprintf(text, sizeof text, i % 2 == 0 ? "%.17g" : "%.6e", v);
    if (std::string_view(text).find('e') == std::string_view::npos &&
        std::string_view(text).find('.') == std::string_view::npos)
      continue;
    const double expected = std::strtod(text, nullptr);
    if (expected == 0 || std::isinf(expected)) continue;
    CAPTURE(text);
    CHECK(read_double(text).value == expected);
  }
}

TEST_CASE("numbers that a double cannot represent are classified") {
  CHECK(read_double("9007199254740992").fit == number_fit::exact);
  CHECK(read_double("9007199254740993").fit == number_fit::rounded);
  CHECK(read_double("9007199254740993").value == 9007199254740992.0);
  CHECK(read_double("-9007199254740993").value == -9007199254740992.0);
  CHECK(read_double("9223372036854775808").fit == number_fit::exact);
  CHECK(read_double("18446744073709551616").fit == number_fit::exact);
  CHECK(read_double("18446744073709551617").fit == number_fit::rounded);
  CHECK(read_double("10000000000000000000000").fit == number_fit::exact);
  CHECK(read_double("1e400").fit == number_fit::too_large);
  CHECK(read_double("-1e400").fit == number_fit::too_large);
  CHECK(read_double(std::string(400, '9')).fit == number_fit::too_large);
  CHECK(read_double("1e999999999999").fit == number_fit::too_large);
  CHECK(read_double("1E-400").fit == number_fit::too_small);
  CHECK(read_double("-1E-400").fit == number_fit::too_small);
  CHECK(read_double("1e-999999999999").fit == number_fit::too_small);
  CHECK(read_double("0." + std::string(500, '0') + "1").fit == number_fit::too_small);
  CHECK(read_double("0e999999999999").value == 0);
  CHECK(read_double("0e999999999999").fit == number_fit::exact);
  const auto minus_zero = read_double("-0");
  CHECK(minus_zero.fit == number_fit::exact);
  CHECK(std::signbit(minus_zero.value));
  CHECK(std::signbit(read_double("-0e-9999").value));
}

TEST_CASE("integers are exact or rejected") {
  CHECK(read_int("9007199254740993").value == 9007199254740993);
  CHECK(read_int("9223372036854775807").value == INT64_MAX);
  CHECK(read_int("-9223372036854775808").value == INT64_MIN);
  CHECK(read_int("9223372036854775808").fit == integer_fit::out_of_range);
  CHECK(read_int("-9223372036854775809").fit == integer_fit::out_of_range);
  CHECK(read_int("18446744073709551616").fit == integer_fit::out_of_range);
  CHECK(read_int("99999999999999999999999").fit == integer_fit::out_of_range);
  CHECK(read_int("1e19").fit == integer_fit::out_of_range);
  CHECK(read_int("1e999999999999").fit == integer_fit::out_of_range);
  CHECK(read_int("21.0").value == 21);
  CHECK(read_int("2e3").value == 2000);
  CHECK(read_int("2500e-2").value == 25);
  CHECK(read_int("-0").value == 0);
  CHECK(read_int("0e-99999999999").value == 0);
  CHECK(read_int("21.5").fit == integer_fit::fraction);
  CHECK(read_int("1e-1").fit == integer_fit::fraction);
  CHECK(read_int("1234567890123456789.5").fit == integer_fit::fraction);
  CHECK(read_int("1e-999999999999").fit == integer_fit::fraction);
}

TEST_CASE("digits are read in steps of eight bytes as one by one, at any length and distance from the end") {
  std::mt19937_64 random(11);
  for (std::size_t before = 0; before <= 24; ++before)
    for (std::size_t after = 0; after <= 12; ++after)
      for (const char end : {'\0', '/', ':', '.', 'e', ' ', '\x80', '\xB0', '\xFF'}) {
        std::string text;
        std::uint64_t expected = 0;
        for (std::size_t i = 0; i < before; ++i) {
          text += static_cast<char>('0' + random() % 10);
          expected = expected * 10 + static_cast<std::uint64_t>(text.back() - '0');
        }
        if (after != 0) text += end + std::string(after - 1, static_cast<char>('0' + random() % 10));
        const std::vector<char> exact(text.begin(), text.end());  // the sanitizer detects a read beyond the end
        std::uint64_t digits = 0;
        const auto* const stop = take_digits(exact.data(), exact.data() + exact.size(), digits);
        CAPTURE(text);
        CHECK(stop == exact.data() + before);
        CHECK(digits == expected);
      }
}
