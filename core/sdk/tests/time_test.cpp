// SPDX-License-Identifier: Apache-2.0
#include <pipeline/time.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>

TEST_CASE("valid times are parsed to nanoseconds") {
  CHECK(pl::parse_rfc3339("1970-01-01T00:00:00Z") == 0);
  CHECK(pl::parse_rfc3339("2026-11-24T18:10:23.5Z") == 1'795'543'823'500'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24 18:10:23.5z") == 1'795'543'823'500'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24t19:10:23,5+01:00") == 1'795'543'823'500'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24T12:40:23.5-0530") == 1'795'543'823'500'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24T19:10:23.5+01") == 1'795'543'823'500'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24T18:10:23.1234567899Z") == 1'795'543'823'123'456'789);
  CHECK(pl::parse_rfc3339("2016-12-31T23:59:60Z") == 1'483'228'800'000'000'000);
  CHECK(pl::parse_rfc3339("2026-11-24") == 1'795'478'400'000'000'000);
  CHECK(pl::parse_rfc3339("1969-12-31T23:59:59.999999999Z") == -1);
}

TEST_CASE("invalid times are rejected") {
  for (const auto* wrong : {"",
                            "now",
                            "yesterday",
                            "2026-13-01",
                            "2026-02-29",
                            "2026-11-31",
                            "26-11-01",
                            "0000-01-01",
                            "-001-01-01",
                            "20261-11-24",
                            "2026-11-24T",
                            "2026-11-24T18:10",
                            "2026-11-24T18:10Z",
                            "2026-11-24T18:10:23",
                            "2026-11-24T24:00:00Z",
                            "2026-11-24T18:60:00Z",
                            "2026-11-24T18:10:61Z",
                            "2026-11-24T18:10:23.Z",
                            "2026-11-24T18:10:23Zx",
                            "2026-11-24T18:10:23+1",
                            "2026-11-24T18:10:23+24:00",
                            "2026-11-24T18:10:23+01:",
                            "2026-11-24T18:10:23+01:60",
                            "2026-11-24T18:10:23+01:000",
                            "2026-11-24T+8:10:23Z"})
    CHECK_MESSAGE(!pl::read_rfc3339(wrong), wrong);
}

TEST_CASE("times that do not fit into 64 bits of nanoseconds are rejected") {
  CHECK(pl::read_rfc3339("0001-01-01T00:00:00Z")->seconds == -62'135'596'800);
  CHECK(pl::read_rfc3339("9999-12-31T23:59:59Z")->seconds == 253'402'300'799);
  CHECK_FALSE(pl::parse_rfc3339("0001-01-01T00:00:00Z"));
  CHECK_FALSE(pl::parse_rfc3339("9999-12-31T23:59:59Z"));
  CHECK(pl::parse_rfc3339("2262-04-11T23:47:16.854775807Z") == INT64_MAX);
  CHECK_FALSE(pl::parse_rfc3339("2262-04-11T23:47:16.854775808Z"));
  CHECK(pl::parse_rfc3339("1677-09-21T00:12:44Z") == -9'223'372'036'000'000'000);
  CHECK_FALSE(pl::parse_rfc3339("1677-09-21T00:12:43Z"));
}

TEST_CASE("read_rfc3339 returns the parts of a time") {
  const auto time = pl::read_rfc3339("1970-01-01T02:00:01.1239+02:00");
  REQUIRE(time);
  CHECK(time->seconds == 1);
  CHECK(time->fraction == "1239");
  CHECK(time->fraction_in(3) == 123);
  CHECK(time->fraction_in(6) == 123'900);
  CHECK(time->offset_minutes == 120);
  CHECK_FALSE(time->date_only);
  CHECK(pl::read_rfc3339("1970-01-02")->date_only);
}

TEST_CASE("times survive a round trip through text") {
  std::mt19937_64 random(7);
  for (int i = 0; i < 10'000; ++i) {
    const auto ns = static_cast<std::int64_t>(random()) / 1000 * 1000;
    if (ns < -9'223'372'036'000'000'000) continue;
    CHECK(pl::parse_rfc3339(pl::rfc3339(ns)) == ns);
  }
  CHECK(pl::rfc3339(0) == "1970-01-01T00:00:00Z");
  CHECK(pl::rfc3339(1'795'543'823'500'000'000) == "2026-11-24T18:10:23.5Z");
  CHECK(pl::rfc3339(-1) == "1969-12-31T23:59:59.999999999Z");
}
