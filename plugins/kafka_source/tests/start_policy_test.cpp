// SPDX-License-Identifier: Apache-2.0
#include "start_policy.hpp"

#include <doctest/doctest.h>

using kafka::parse_start;
using kafka::start_policy;

TEST_CASE("start: keywords and times") {
  CHECK(parse_start("earliest")->where == start_policy::kind::earliest);
  CHECK(parse_start("latest")->where == start_policy::kind::latest);
  CHECK(parse_start("2026-11-01")->time_ms == 1'793'491'200'000);
  CHECK(parse_start("2026-11-01T06:30:00Z")->time_ms == 1'793'514'600'000);
  CHECK(parse_start("2026-11-01T06:30:00.25+02:00")->time_ms == 1'793'507'400'250);
  CHECK(parse_start("1970-01-01 00:00:00Z")->time_ms == 0);
}

TEST_CASE("start: invalid texts are rejected") {
  for (const auto* bad :
       {"", "newest", "2026-13-01", "2026-02-30", "2026-11-01T06:30", "2026-11-01T06:30:00", "2026-11-01T24:00:00Z",
        "2026-11-01T06:30:00.Z", "2026-11-01T06:30:00Zx", "1969-12-31", "26-11-01"})
    CHECK_FALSE_MESSAGE(parse_start(bad), bad);
}
