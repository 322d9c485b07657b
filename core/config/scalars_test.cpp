// SPDX-License-Identifier: Apache-2.0
#include "config/scalars.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string_view>

using namespace pl::config;

namespace {

struct good {
  std::string_view text;
  std::int64_t value;
};
struct bad {
  std::string_view text, fix;
};

constexpr std::int64_t ms = 1'000'000, s = 1000 * ms, minute = 60 * s, hour = 60 * minute, day = 24 * hour;
constexpr std::int64_t biggest = std::numeric_limits<std::int64_t>::max();

template <typename Parse>
void check(Parse parse, std::initializer_list<good> goods, std::initializer_list<bad> bads) {
  for (const auto& g : goods) {
    CAPTURE(g.text);
    const auto result = parse(g.text);
    REQUIRE(result);
    CHECK(*result == g.value);
  }
  for (const auto& b : bads) {
    CAPTURE(b.text);
    const auto result = parse(b.text);
    CHECK_FALSE(result);
    CHECK(result.why().message == b.fix);
  }
}

}  // namespace

TEST_CASE("durations") {
  check(parse_duration,
        {{"0", 0},
         {"0s", 0},
         {"1ns", 1},
         {"1us", 1000},
         {"1µs", 1000},
         {"100ms", 100 * ms},
         {"10s", 10 * s},
         {"1m", minute},
         {"1h30m", hour + 30 * minute},
         {"7d", 7 * day},
         {"1.5s", 1500 * ms},
         {"0.25h", 15 * minute},
         {"1d2h3m4s5ms6us7ns", day + 2 * hour + 3 * minute + 4 * s + 5 * ms + 6007},
         {"90m", 90 * minute},
         {"9223372036854775807ns", biggest},
         {"0.000000001s", 1}},
        {{"100", "write 100ms or 100s"},
         {"5 min", "write 5m"},
         {"5min", "write 5m"},
         {"10 s", "write 10s"},
         {"10S", "write 10s"},
         {"2hours", "write 2h"},
         {"1 hour 30 minutes", "write 1h30m"},
         {"", ""},
         {"s", ""},
         {"-1s", ""},
         {"1.s", ""},
         {".5s", ""},
         {"1w", ""},
         {"30m1h", ""},
         {"1s1s", ""},
         {"soon", ""},
         {"1e3s", ""},
         {"9223372036854775808ns", ""},
         {"300000d", ""},
         {"99999999999999999999s", ""},
         {"0.0000000001s", ""},
         {"1s ", "write 1s"},
         {"1.5", ""}});
}

TEST_CASE("sizes") {
  check(parse_size,
        {{"0", 0},
         {"512", 512},
         {"512B", 512},
         {"64KiB", 65536},
         {"10MB", 10'000'000},
         {"1kB", 1000},
         {"1KB", 1000},
         {"4MiB", 4 << 20},
         {"1.5GiB", 1610612736},
         {"2TiB", 2LL << 40},
         {"1GB", 1'000'000'000},
         {"0.5KiB", 512},
         {"9223372036854775807", biggest}},
        {{"64k", "write 64KiB"},
         {"64K", "write 64KiB"},
         {"512M", "write 512MiB"},
         {"10 MB", "write 10MB"},
         {"10mb", "write 10MB"},
         {"4mib", "write 4MiB"},
         {"100 bytes", "write 100B"},
         {"1_000", "write 1000"},
         {"", ""},
         {"-1", ""},
         {"MB", ""},
         {"1.5B", ""},
         {"0.3KiB", ""},
         {"many", ""},
         {"9223372036854775808", ""},
         {"9999999TiB", ""},
         {"1MBit", ""}});
}

TEST_CASE("whole numbers") {
  check(parse_int,
        {{"0", 0}, {"-1", -1}, {"42", 42}, {"9223372036854775807", biggest}, {"-9223372036854775808", -biggest - 1}},
        {{"", ""},
         {"-", ""},
         {"4.0", "write 4"},
         {"4.5", ""},
         {"1_000", "write 1000"},
         {"1,000", "write 1000"},
         {"+5", "write 5"},
         {"007", "write 7"},
         {"0x10", ""},
         {"1e3", ""},
         {"many", ""},
         {"9223372036854775808", ""},
         {"1 000", "write 1000"},
         {"--1", ""},
         {"5 apples", ""}});
}

TEST_CASE("numbers") {
  for (const auto& [text, value] : {std::pair("0", 0.0), {"1.5", 1.5}, {"-2", -2.0}, {"1e3", 1000.0}, {".5", 0.5}}) {
    CAPTURE(text);
    REQUIRE(parse_float(text));
    CHECK(*parse_float(text) == doctest::Approx(value));
  }
  for (const auto* text : {"", "x", "nan", "inf", "-inf", "1e400", "1.2.3", "0x1p3", "1 2"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_float(text));
  }
  CHECK(parse_float("1,5").why().message == "write 1.5");
}

TEST_CASE("true and false") {
  CHECK(*parse_bool("true"));
  CHECK_FALSE(*parse_bool("false"));
  for (const auto* text : {"yes", "on", "True", "TRUE", "y", "1"})
    CHECK(parse_bool(text).why().message == "write true");
  for (const auto* text : {"no", "off", "False", "n", "0"}) CHECK(parse_bool(text).why().message == "write false");
  CHECK(parse_bool("maybe").why().message.empty());
}

TEST_CASE("formatting") {
  CHECK(format_duration(0) == "0");
  CHECK(format_duration(90 * s) == "1m30s");
  CHECK(format_duration(100 * ms) == "100ms");
  CHECK(format_duration(day + 1) == "1d1ns");
  CHECK(format_size(4 << 20) == "4MiB");
  CHECK(format_size(1000) == "1000");
  for (const auto n : {std::int64_t{1}, 1500 * ms, 36 * hour, biggest}) CHECK(*parse_duration(format_duration(n)) == n);
  for (const auto n : {std::int64_t{0}, std::int64_t{1536}, std::int64_t{5} << 40, biggest})
    CHECK(*parse_size(format_size(n)) == n);
}
