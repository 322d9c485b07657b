// SPDX-License-Identifier: Apache-2.0
// Ids, patterns, suggestions, messages.
#include "alert_id.hpp"
#include "glob.hpp"
#include "message.hpp"
#include "text.hpp"

#include <doctest/doctest.h>

using namespace threshold_alert;

TEST_CASE("SHA-1 of the standard's examples, and of every length around a block's end") {
  const auto hex = [](std::string_view bytes) {
    std::string out;
    for (const auto b : sha1(bytes)) {
      out.push_back("0123456789abcdef"[b >> 4]);
      out.push_back("0123456789abcdef"[b & 15]);
    }
    return out;
  };
  CHECK(hex("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK(hex("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") == "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  CHECK(hex(std::string(1'000'000, 'a')) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  CHECK(hex(std::string(55, 'x')) == "cef734ba81a024479e09eb5a75b6ddae62e6abf1");
  CHECK(hex(std::string(64, 'x')) == "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163");
}

TEST_CASE("ids are UUIDs of version 5") {
  const uuid dns{0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
  CHECK(uuid_text(uuid5(dns, "python.org")) == "886313e1-3b8a-5372-9b90-0c9aee199e5d");
  CHECK(uuid_text(alert_name_space()) == "fd9e923f-3928-59d4-940d-ef8151e76759");
}

TEST_CASE("patterns") {
  const auto matches = [](std::string_view pattern, std::string_view id) { return glob::parse(pattern)->matches(id); };
  CHECK(matches("pump-*", "pump-"));
  CHECK(matches("pump-*", "pump-17"));
  CHECK_FALSE(matches("pump-*", "a pump-17"));
  CHECK(matches("*", ""));
  CHECK(matches("", ""));
  CHECK_FALSE(matches("", "x"));
  CHECK(matches("a*b*c", "a-b-b-c"));
  CHECK_FALSE(matches("a*b*c", "a-c-b"));
  CHECK(matches("?x", "ax"));
  CHECK_FALSE(matches("?x", "x"));
  CHECK(matches("d[0-4a]", "d3"));
  CHECK(matches("d[0-4a]", "da"));
  CHECK_FALSE(matches("d[0-4a]", "d5"));
  CHECK(matches("d[!0-4]", "d5"));
  CHECK_FALSE(matches("d[!0-4]", "d4"));
  CHECK(matches("[]x]", "]"));
  CHECK(matches("[a-]", "-"));
  CHECK(matches("a|b*", "bcd"));
  CHECK_FALSE(matches("a|b*", "ab"));
  CHECK(matches("a\\|b", "a|b"));
  CHECK(matches("\\*", "*"));
  CHECK_FALSE(matches("\\*", "x"));
  CHECK_FALSE(matches(std::string(30, '*') + "b", std::string(5000, 'a')));  // no explosion
  CHECK_FALSE(glob::parse("a\\").ok());
  CHECK_FALSE(glob::parse("[").ok());
  CHECK_FALSE(glob::parse("[]").ok());
}

TEST_CASE("suggestions") {
  CHECK(suggestion("temprature", {"temperature", "humidity"}) == "; did you mean 'temperature'?");
  CHECK(suggestion("xyz", {"temperature", "humidity"}) == "; there are: temperature, humidity");
  CHECK(suggestion("xyz", {}) == "; there are none");
  CHECK(edit_distance("kitten", "sitting") == 3);
}

namespace {

std::string rendered(const message_template& m, const rule& r, pl::cell value, pl::cell threshold) {
  const pl::cell key[] = {pl::text_cell("u"), pl::text_cell("d\"1")};
  std::string out;
  append_message(out, m, {r, "firing", "critical", value, threshold, 0, 1'500'000'000, "t/0", 7, key});
  return out;
}

}  // namespace

TEST_CASE("messages") {
  rule r;
  r.name = "hot";
  r.metric = "temperature";
  const auto m = parse_message(
      "{{{rule}}} {state} {severity} {metric}={value}>{threshold} {since} {time} {stream}:{position} {device_id}",
      {"user_id", "device_id"});
  REQUIRE(m.ok());
  CHECK(rendered(*m, r, pl::real_cell(81.5), pl::real_cell(80)) ==
        "{hot} firing critical temperature=81.5>80 1970-01-01T00:00:00Z 1970-01-01T00:00:01.5Z t/0:7 d\"1");
}

TEST_CASE("default messages read as sentences") {
  rule r;
  r.name = "hot";
  r.metric = "temperature";
  const auto both = [&](pl::cell value, pl::cell threshold) {
    return rendered(default_message(r, false), r, value, threshold) + " / " +
           rendered(default_message(r, true), r, value, threshold);
  };
  r.when = condition::above;
  CHECK(both(pl::real_cell(81), pl::real_cell(80)) ==
        "hot: temperature is 81, above 80 / hot: temperature is 81, no longer above 80");
  r.when = condition::below;
  CHECK(both(pl::int_cell(1), pl::real_cell(2)) ==
        "hot: temperature is 1, below 2 / hot: temperature is 1, no longer below 2");
  r.when = condition::outside;
  CHECK(both(pl::int_cell(1), pl::real_cell(2)) ==
        "hot: temperature is 1, beyond 2 / hot: temperature is 1, within its limits again");
  r.when = condition::equals;
  CHECK(both(pl::text_cell("failed"), pl::text_cell("failed")) ==
        "hot: temperature is failed / hot: temperature is failed, no longer failed");
  r.when = condition::above;
  r.rate = rate_unit::minute;
  CHECK(both(pl::real_cell(7), pl::real_cell(5)) ==
        "hot: temperature changes by 7 per minute, above 5 / hot: temperature changes by 7 per minute, no longer above "
        "5");
  r.rate.reset();
  r.when = condition::silence;
  CHECK(both(pl::real_cell(330), pl::real_cell(300)) ==
        "hot: no temperature for 5m30s / hot: temperature again after 5m30s");
  r.metric.clear();
  CHECK(both(pl::real_cell(330.25), pl::real_cell(300)) ==
        "hot: no data for 5m30s250ms / hot: data again after 5m30s250ms");
}
