// SPDX-License-Identifier: Apache-2.0
#include "../time_text.hpp"

#include <pipeline/time.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

using namespace json_telemetry;

namespace {

// Return the time as RFC 3339, or the problem in brackets.
std::string read(std::string_view text, time_unit unit = time_unit::automatic, zone_policy zone = {}) {
  const auto t = time_of_text(text, unit, zone);
  return t.problem.empty() ? pl::rfc3339(t.ns) : "[" + std::string(t.problem) + "]";
}
bool fails_with(const std::string& got, std::string_view part) {
  return got.starts_with("[") && got.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("ISO 8601 in its spellings") {
  CHECK(read("2026-11-24T18:00:00Z") == "2026-11-24T18:00:00Z");
  CHECK(read("2026-11-24t18:00:00z") == "2026-11-24T18:00:00Z");
  CHECK(read("2026-11-24 18:00:00Z") == "2026-11-24T18:00:00Z");
  CHECK(read("2026-11-24T18:00:00.123456789Z") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("2026-11-24T18:00:00,5Z") == "2026-11-24T18:00:00.5Z");
  CHECK(read("2026-11-24T18:00:00.1234567891234Z") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("2026-11-24T18:00Z") == "2026-11-24T18:00:00Z");
  CHECK(read("2026-11-24") == "2026-11-24T00:00:00Z");
  CHECK(read("2026-11-24T24:00:00Z") == "2026-11-25T00:00:00Z");
  CHECK(read("20261124T180000Z") == "2026-11-24T18:00:00Z");
  CHECK(read("20261124T180000.25+0100") == "2026-11-24T17:00:00.25Z");
  CHECK(read("2024-02-29T00:00:00Z") == "2024-02-29T00:00:00Z");
}

TEST_CASE("zones") {
  CHECK(read("2026-11-24T18:00:00+05:30") == "2026-11-24T12:30:00Z");
  CHECK(read("2026-11-24T18:00:00-0800") == "2026-11-25T02:00:00Z");
  CHECK(read("2026-11-24T18:00:00+01") == "2026-11-24T17:00:00Z");
  CHECK(read("2026-11-24T18:00:00 +01:00") == "2026-11-24T17:00:00Z");
  CHECK(read("2026-11-24T18:00:00") == "2026-11-24T18:00:00Z");
  CHECK(read("2026-11-24T18:00:00", time_unit::automatic, {false, 3600}) == "2026-11-24T17:00:00Z");
  CHECK(read("2026-11-24", time_unit::automatic, {false, -3600}) == "2026-11-24T01:00:00Z");
  CHECK(fails_with(read("2026-11-24T18:00:00", time_unit::automatic, {true, 0}), "without a zone"));
  CHECK(fails_with(read("2026-11-24", time_unit::automatic, {true, 0}), "without a zone"));
  CHECK(read("2026-11-24T18:00:00Z", time_unit::automatic, {true, 0}) == "2026-11-24T18:00:00Z");
  CHECK(parse_zone_policy("utc")->offset_seconds == 0);
  CHECK(parse_zone_policy("+05:30")->offset_seconds == 19'800);
  CHECK(parse_zone_policy("-0800")->offset_seconds == -28'800);
  CHECK(parse_zone_policy("reject")->reject);
  for (const std::string bad : {"", "Europe/Berlin", "5", "+25:00", "+05:3", "+05:30x"})
    CHECK_MESSAGE(!parse_zone_policy(bad), bad);
}

TEST_CASE("leap seconds are the second after") {
  CHECK(read("2016-12-31T23:59:60Z") == "2017-01-01T00:00:00Z");
  CHECK(read("2016-12-31T23:59:60.5Z") == "2017-01-01T00:00:00.5Z");
  CHECK(read("2017-01-01T05:29:60+05:30") == "2017-01-01T00:00:00Z");
  CHECK(fails_with(read("2016-12-31T12:30:60Z"), "leap second"));
  CHECK(fails_with(read("2016-12-31T23:59:61Z"), "time of day"));
}

TEST_CASE("texts that are not times") {
  for (const std::string bad : {"NaN",
                                "yesterday",
                                "2026-11-24T",
                                "2026-11-24T18",
                                "2026-11-24T18:0",
                                "2026-11-24T18:00:",
                                "2026-11-24T18:00:00.Z",
                                "2026-11-24T18:00:00+",
                                "2026-11-24T18:00:00+1",
                                "2026-11-24T18:00:00Zx",
                                "2026-11-24x",
                                "2026/11/24",
                                "24.11.2026",
                                "2026-11-24T18:00:00[Europe/Berlin]",
                                "2026-W48-2",
                                "2026-328",
                                "2026-11-24T1800:00Z",
                                "20261124T18:00:00Z",
                                "-",
                                "+",
                                "--",
                                "T",
                                "\xF0\x9F\x98\x80",
                                "2026-11-24T18:00:00+05:3",
                                "2026-1124"})
    CHECK_MESSAGE(fails_with(read(bad), "not a time"), bad);
  CHECK(fails_with(read("2026-02-30T00:00:00Z"), "not a valid date"));
  CHECK(fails_with(read("2023-02-29"), "not a valid date"));
  CHECK(fails_with(read("2026-13-01"), "not a valid date"));
  CHECK(fails_with(read("2026-00-10"), "not a valid date"));
  CHECK(fails_with(read("2026-11-24T25:00:00Z"), "time of day"));
  CHECK(fails_with(read("2026-11-24T24:00:01Z"), "time of day"));
  CHECK(fails_with(read("2026-11-24T18:60:00Z"), "time of day"));
  CHECK(fails_with(read("2026-11-24T18:00:00+24:00"), "not a time"));
  CHECK(fails_with(read(""), "empty text"));
}

TEST_CASE("years outside the range of nanoseconds in 64 bits") {
  for (const std::string far :
       {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "294277-01-01T00:00:00Z", "+294277-01-09T04:00:54.775807Z",
        "-0001-01-01T00:00:00Z", "1677-09-21T00:12:43Z", "2262-04-11T23:47:17Z", "2262-04-11T23:47:16.854775808Z"})
    CHECK_MESSAGE(fails_with(read(far), "outside the years 1677 to 2262"), far);
  CHECK(read("2262-04-11T23:47:16.854775807Z") == "2262-04-11T23:47:16.854775807Z");
  CHECK(read("1677-09-21T00:12:43.145224192Z") == "1677-09-21T00:12:43.145224192Z");
  CHECK(fails_with(read("1677-09-21T00:12:43.145224191Z"), "outside"));
  CHECK(fails_with(read("1e30"), "outside"));
  CHECK(fails_with(read("9223372036854775808"), "outside"));
  CHECK(fails_with(read("99999999999", time_unit::seconds), "outside"));
}

TEST_CASE("the size of a number determines its unit") {
  const std::string_view expected = "2026-11-24T18:00:00Z";
  CHECK(read("1795543200") == expected);
  CHECK(read("1795543200000") == expected);
  CHECK(read("1795543200000000") == expected);
  CHECK(read("1795543200000000000") == expected);
  CHECK(read("1795543200.0") == expected);
  CHECK(read("1.7955432e9") == expected);
  CHECK(read("17955432e2") == expected);
  CHECK(read("1795543200.123456789") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("1795543200.1234567891") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("1795543200123.456789") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("1795543200123456.789") == "2026-11-24T18:00:00.123456789Z");
  CHECK(read("0") == "1970-01-01T00:00:00Z");
  CHECK(read("-1") == "1969-12-31T23:59:59Z");
  CHECK(read("-1795543200000") == "1913-02-07T06:00:00Z");
  CHECK(time_of_text("1795543200123", time_unit::automatic, {}).unit == time_unit::milliseconds);
  CHECK(time_of_text("2026-11-24", time_unit::automatic, {}).unit == time_unit::iso8601);
}

TEST_CASE("with a declared unit, other forms are rejected") {
  CHECK(read("86400000", time_unit::milliseconds) == "1970-01-02T00:00:00Z");
  CHECK(read("86400", time_unit::seconds) == "1970-01-02T00:00:00Z");
  CHECK(read("86400000000", time_unit::microseconds) == "1970-01-02T00:00:00Z");
  CHECK(read("86400000000000", time_unit::nanoseconds) == "1970-01-02T00:00:00Z");
  CHECK(fails_with(read("2026-11-24", time_unit::seconds), "time.unit"));
  CHECK(fails_with(read("1795543200", time_unit::iso8601), "not a time"));
  CHECK(!time_of_number(*parse_decimal("1795543200"), time_unit::iso8601).problem.empty());
}

TEST_CASE("times formatted as RFC 3339 are parsed as the same time") {
  std::mt19937_64 random(11);
  for (int i = 0; i < 20'000; ++i) {
    const auto ns = static_cast<std::int64_t>(random());
    const auto text = pl::rfc3339(ns);
    CAPTURE(text);
    const auto t = time_of_iso8601(text, {});
    CHECK(t.problem.empty());
    CHECK(t.ns == ns);
  }
}

TEST_CASE("the usual form with Z is the same time as with the offset +00:00, and its mistakes are found") {
  std::mt19937_64 random(23);
  const auto number = [&](unsigned most, int digits) {
    auto text = std::to_string(random() % most);
    return std::string(static_cast<std::size_t>(digits) - std::min(text.size(), static_cast<std::size_t>(digits)),
                       '0') +
           text;
  };
  int times = 0;
  for (int i = 0; i < 50'000; ++i) {
    auto text = number(i % 2 == 0 ? 3000 : 2300, 4) + "-" + number(14, 2) + "-" + number(33, 2) + "T" + number(25, 2) +
                ":" + number(61, 2) + ":" + number(61, 2);
    if (i % 3 == 0) text += "." + number(1'000'000'000, 1 + static_cast<int>(random() % 11));
    if (i % 5 == 0) text[random() % text.size()] = "09:-TZ./ "[random() % 9];
    const auto usual = read(text + "Z"), general = read(text + "+00:00");
    CHECK_MESSAGE(usual == general, text);
    times += usual.starts_with("[") ? 0 : 1;
  }
  CHECK(times > 5'000);
  CHECK(read("1677-09-21T00:12:43.145224193Z") == "1677-09-21T00:12:43.145224193Z");
  CHECK(read("2262-04-11T23:47:16.854775807Z") == "2262-04-11T23:47:16.854775807Z");
  CHECK(read("1969-12-31T23:59:59.999999999Z") == "1969-12-31T23:59:59.999999999Z");
  CHECK(fails_with(read("2026-02-29T00:00:00Z"), "not a valid date"));
  CHECK(fails_with(read("2026-00-10T00:00:00Z"), "not a valid date"));
  CHECK(fails_with(read("2026-11-24T25:00:00Z"), "not a valid time of day"));
  CHECK(fails_with(read("2026-11-24T18:00:00.Z"), "not a time"));
  CHECK(fails_with(read("2026-11-24T18:00:00ZZ"), "not a time"));
}
