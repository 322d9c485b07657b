// SPDX-License-Identifier: Apache-2.0
// Tests of ids, patterns, suggestions and messages.
#include "alert_id.hpp"
#include "glob.hpp"
#include "message.hpp"
#include "text.hpp"

#include <boost/uuid/name_generator_sha1.hpp>
#include <doctest/doctest.h>

using namespace threshold_alert;

TEST_CASE("ids are UUIDs of version 5") {
  CHECK(uuid_text(uuid5(boost::uuids::ns::dns(), "python.org")) == "886313e1-3b8a-5372-9b90-0c9aee199e5d");
  CHECK(uuid_text(alert_name_space()) == "fd9e923f-3928-59d4-940d-ef8151e76759");
}

TEST_CASE("ids are correct for name lengths around a SHA-1 block boundary") {
  const auto id = [](std::string_view name) { return uuid_text(uuid5(alert_name_space(), name)); };
  CHECK(id("") == "f9827bf6-ab77-5560-9b2a-111da519b04c");
  CHECK(id("a") == "07f33cb2-16a5-5b9b-a073-05ef0e0ea6cb");
  CHECK(id(std::string_view("demo\0temp\0u1\0d7", 15)) == "69d0858e-1b6d-5055-9d05-0a4b893a3da6");
  CHECK(id("温度 🙂") == "c258e45a-6a47-517e-b58d-579cb3332175");
  CHECK(id(std::string(55, 'x')) == "c1e35b63-a952-5447-9547-18288580f1ff");
  CHECK(id(std::string(56, 'x')) == "d5aacb6c-0372-52f1-8103-9d47d3bb24c3");
  CHECK(id(std::string(64, 'x')) == "29ed1070-6e94-51e5-8da7-9931cca84115");
  CHECK(id(std::string(1000, 'x')) == "0aa007fa-4e7a-5d22-b15f-c52bd85dd4be");
}

TEST_CASE("patterns match as documented") {
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
  CHECK_FALSE(matches(std::string(30, '*') + "b", std::string(5000, 'a')));  // not exponential
  CHECK_FALSE(glob::parse("a\\").ok());
  CHECK_FALSE(glob::parse("[").ok());
  CHECK_FALSE(glob::parse("[]").ok());
}

TEST_CASE("a suggestion names a similar name, else all valid names") {
  CHECK(suggestion("temprature", {"temperature", "humidity"}) == "; did you mean 'temperature'?");
  CHECK(suggestion("xyz", {"temperature", "humidity"}) == "; valid names: temperature, humidity");
  CHECK(suggestion("xyz", {}) == "; no names are defined");
}

namespace {

std::string rendered(const message_template& m, const rule& r, pl::cell value, pl::cell threshold) {
  const pl::cell key[] = {pl::text_cell("u"), pl::text_cell("d\"1")};
  std::string out;
  append_message(out, m, {r, "firing", "critical", value, threshold, 0, 1'500'000'000, "t/0", 7, key});
  return out;
}

}  // namespace

TEST_CASE("all placeholders of a message are filled in") {
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
  const auto text = [&](occasion_text of, pl::cell value, pl::cell threshold) {
    return rendered(default_message(r, of), r, value, threshold);
  };
  const auto both = [&](pl::cell value, pl::cell threshold) {
    return text(occasion_text::breached, value, threshold) + " / " + text(occasion_text::resolved, value, threshold);
  };
  r.when = condition::above;
  CHECK(both(pl::real_cell(81), pl::real_cell(80)) ==
        "hot: temperature of u/d\"1 is 81, above 80 / hot: temperature of u/d\"1 is 81, no longer above 80");
  r.when = condition::below;
  CHECK(both(pl::int_cell(1), pl::real_cell(2)) ==
        "hot: temperature of u/d\"1 is 1, below 2 / hot: temperature of u/d\"1 is 1, no longer below 2");
  r.when = condition::outside;
  CHECK(both(pl::int_cell(1), pl::real_cell(2)) ==
        "hot: temperature of u/d\"1 is 1, beyond 2 / hot: temperature of u/d\"1 is 1, within its limits again");
  r.when = condition::equals;
  CHECK(both(pl::text_cell("failed"), pl::text_cell("failed")) ==
        "hot: temperature of u/d\"1 is failed / hot: temperature of u/d\"1 is failed, no longer failed");
  r.when = condition::above;
  r.rate = rate_unit::minute;
  CHECK(both(pl::real_cell(7), pl::real_cell(5)) ==
        "hot: temperature of u/d\"1 changes by 7 per minute, above 5 / hot: temperature of u/d\"1 changes by 7 per "
        "minute, "
        "no longer above 5");
  CHECK(text(occasion_text::held, pl::real_cell(3), pl::real_cell(5)) ==
        "hot: temperature of u/d\"1 changes by 3 per minute, was above 5 and has not cleared yet");
  r.rate.reset();
  r.when = condition::silence;
  CHECK(both(pl::real_cell(330), pl::real_cell(300)) ==
        "hot: no temperature from u/d\"1 for 5m30s / hot: temperature from u/d\"1 again after 5m30s");
  r.metric.clear();
  CHECK(both(pl::real_cell(330.25), pl::real_cell(300)) ==
        "hot: no data from u/d\"1 for 5m30s250ms / hot: data from u/d\"1 again after 5m30s250ms");
}

TEST_CASE("the default message of a value that no longer breaches does not say that it does") {
  rule r;
  r.name = "hot";
  r.metric = "temperature";
  const auto held = [&](pl::cell value, pl::cell threshold) {
    return rendered(default_message(r, occasion_text::held), r, value, threshold);
  };
  r.when = condition::above;
  CHECK(held(pl::real_cell(70), pl::real_cell(80)) ==
        "hot: temperature of u/d\"1 is 70, was above 80 and has not cleared yet");
  r.when = condition::below;
  CHECK(held(pl::real_cell(3), pl::real_cell(2)) ==
        "hot: temperature of u/d\"1 is 3, was below 2 and has not cleared yet");
  r.when = condition::outside;
  CHECK(held(pl::real_cell(3), pl::real_cell(2)) ==
        "hot: temperature of u/d\"1 is 3, was beyond 2 and has not cleared yet");
  r.when = condition::equals;
  CHECK(held(pl::text_cell("ok"), pl::text_cell("failed")) ==
        "hot: temperature of u/d\"1 is ok, was failed and has not cleared yet");
}
