// SPDX-License-Identifier: Apache-2.0
#include "parse.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>

using namespace timescale;

TEST_CASE("times in RFC 3339 form are parsed") {
  CHECK(parse_time("2026-11-24T18:10:23.5Z") == 1'795'543'823'500'000);
  CHECK(parse_time("2026-11-24 18:10:23.5z") == 1'795'543'823'500'000);
  CHECK(parse_time("2026-11-24T19:10:23.5+01:00") == 1'795'543'823'500'000);
  CHECK(parse_time("2026-11-24T12:40:23.5-0530") == 1'795'543'823'500'000);
  CHECK(parse_time("2026-11-24T19:10:23,5+01") == 1'795'543'823'500'000);
  CHECK(parse_time("1970-01-01T00:00:00Z") == 0);
  CHECK(parse_time("1969-12-31T23:59:59.999999Z") == -1);
  CHECK(parse_time("0001-01-01T00:00:00Z") == -62'135'596'800'000'000);
  CHECK(parse_time("9999-12-31T23:59:59Z") == 253'402'300'799'000'000);
  CHECK(parse_time("2016-12-31T23:59:60Z") == 1'483'228'800'000'000);  // a leap second is parsed as the next second
  CHECK(parse_time("2026-11-24T18:10:23.1234565Z") == 1'795'543'823'123'457);
  CHECK(parse_time("2026-11-24T18:10:23.1234564999Z") == 1'795'543'823'123'456);
  CHECK(parse_time("2024-02-29T00:00:00Z").has_value());
  for (const auto* wrong :
       {"", "2026-11-24", "2026-11-24T18:10:23", "2026-11-24T18:10Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-11-24T24:00:00Z", "2026-11-24T18:60:00Z", "2026-11-24T18:10:61Z", "2026-11-24T18:10:23.Z",
        "2026-11-24T18:10:23Zx", "0000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "20261-11-24T18:10:23Z", "yesterday",
        "2026-11-24T18:10:23+16:00", "2026-11-24T18:10:23+1"})
    CHECK_MESSAGE(!parse_time(wrong), wrong);
}

TEST_CASE("dates are parsed") {
  CHECK(parse_date("1970-01-01") == 0);
  CHECK(parse_date("2026-11-24") == 20'781);
  CHECK(!parse_date("2026-11-24T00:00:00Z"));
  CHECK(!parse_date("2026-11-31"));
}

TEST_CASE("UUIDs are parsed") {
  const auto id = parse_uuid("6f1a9c1e-0000-4abc-8def-0123456789ab");
  REQUIRE(id);
  CHECK(std::string_view(id->data(), 16) ==
        std::string_view("\x6f\x1a\x9c\x1e\x00\x00\x4a\xbc\x8d\xef\x01\x23\x45\x67\x89\xab", 16));
  CHECK(parse_uuid("6F1A9C1E00004ABC8DEF0123456789AB") == id);
  CHECK(parse_uuid("{6f1a9c1e-0000-4abc-8def-0123456789ab}") == id);
  for (const auto* wrong : {"", "6f1a9c1e-0000-4abc-8def-0123456789a", "6f1a9c1e-0000-4abc-8def-0123456789abc",
                            "6f1a9c1e-0000-4abc-8def-0123456789ag", "6f1a9c1e--0000-4abc-8def-0123456789ab",
                            "-6f1a9c1e00004abc8def0123456789ab", "6f1a9c1e-0000-4abc-8def-0123456789ab-"})
    CHECK_MESSAGE(!parse_uuid(wrong), wrong);
}

TEST_CASE("invalid text is found at every offset, as in PostgreSQL") {
  for (std::size_t at = 0; at < 20; ++at) {
    std::string text(20, 'a');
    CHECK(check_text(text) == text_fault::none);
    text[at] = '\0';
    CHECK(check_text(text) == text_fault::nul);
    text[at] = '\xFF';
    CHECK(check_text(text) == text_fault::not_utf8);
    text.replace(at, 1, "\xF0\x9F\x98\x80");
    CHECK(check_text(text) == text_fault::none);
    text.erase(at + 1, 1);
    CHECK(check_text(text) == text_fault::not_utf8);
  }
  CHECK(check_text("\x01\x7F\x01\x7F\x01\x7F\x01\x7F\x01") == text_fault::none);
  CHECK(check_text("") == text_fault::none);
  CHECK(check_text("\xC3") == text_fault::not_utf8);
  CHECK(check_text("\xED\xA0\x80") == text_fault::not_utf8);  // a surrogate
}

TEST_CASE("an escaped NUL in JSON is found") {
  CHECK(has_escaped_nul(R"({"a":"x\u0000"})"));
  CHECK(has_escaped_nul(R"({"a":"\\\u0000"})"));
  CHECK_FALSE(has_escaped_nul(R"({"a":"\\u0000"})"));
  CHECK(has_escaped_nul(R"({"a":"\\u0000 \u0000"})"));
  CHECK_FALSE(has_escaped_nul(R"({"a":"\u0001"})"));
}

TEST_CASE("characters are counted, not bytes, and trailing spaces do not count") {
  CHECK(characters("abc") == 3);
  CHECK(characters("a\xC3\xA4\xF0\x9F\x98\x80") == 3);
  CHECK(characters("ab   ") == 2);
  CHECK(characters("    ") == 0);
  CHECK(characters("") == 0);
}
