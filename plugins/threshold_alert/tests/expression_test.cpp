// SPDX-License-Identifier: Apache-2.0
// Tests of conditions and thresholds that are expressions.
#include "harness.hpp"

using namespace threshold_alert::testing;
using pl::testing::ask_columns;

namespace {

constexpr auto null = pl::null_cell;

std::vector<pl::testing::config_value> one(config_fields rule) {
  rule.insert(rule.begin(), {"name", "r"});
  return {object(std::move(rule))};
}

// Return what `create` and `columns` report.
std::string faults_of(config_fields rule) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, component(), {{"rules", list(one(std::move(rule)))}});
  if (i.create() != PL_OK) return host.error_text();
  const auto* in =
      pl::context(&host.raw()).schema({"time", "user_id", "device_id", "temperature", "humidity", "status"});
  pl::column_set out;
  const pl::column_set columns{in, {PL_TIME_NS, PL_TEXT, PL_TEXT, PL_F64, PL_F64, PL_TEXT}};
  return ask_columns(component(), i.self(), columns, 0, out) == PL_OK ? "" : host.error_text();
}

}  // namespace

TEST_CASE("when: an alert fires while the condition is true, and resolves when it is false") {
  harness h(one({{"when", "temperature > 30 && humidity > 80"}}));
  h.feed({{1, real(31), "d1", real(70)}, {2, real(31), "d1", real(81)}, {3, real(32), "d1", real(90)}});
  h.feed({{4, real(20), "d1", real(90)}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 2);
  CHECK((all[0].at("state") == "firing" && all[1].at("state") == "resolved"));
  CHECK(all[0].at("id") == all[1].at("id"));
  CHECK(all[0].at("message") == "r: the condition is true for u/d1");
  CHECK(all[1].at("message") == "r: the condition is no longer true for u/d1");
  CHECK_FALSE(all[0].contains("value"));
  CHECK_FALSE(all[0].contains("threshold"));
}

TEST_CASE("when: a record for which the condition fails neither fires nor resolves the alert, and is counted") {
  harness h(one({{"when", "temperature > 30"}, {"metric", "temperature"}}));
  h.feed({{1, null()}, {2, real(31)}, {3, null()}, {4, null()}});
  CHECK(h.take() == lines{"firing warning 31 @2 d1"});
  CHECK(h.host.sum("alert_values_skipped_total{reason=failed_condition}") == 3);
  h.feed({{5, real(1)}});
  CHECK(h.take() == lines{"resolved warning 1 @5 d1"});
}

TEST_CASE("when: durations, counts and copies work as for thresholds") {
  harness h(one({{"when", "status == 'bad'"}, {"times", 2}, {"for", 3s}}));
  const auto bad = [](double at) { return row{at, null(), "d1", null(), text("bad")}; };
  h.feed({bad(1), bad(1), bad(2), {3, null(), "d1", null(), text("ok")}, bad(4), bad(5)});
  CHECK(h.take() == lines{});
  h.feed({bad(7)});
  CHECK(h.take() == lines{"firing warning null @7 d1"});
}

TEST_CASE("when: severities; the highest that is true counts, even if a lower one fails") {
  const auto level = [](const char* severity, const char* when) {
    return object({{"severity", severity}, {"when", when}});
  };
  harness h(one({{"severities", list({level("warning", "humidity > 50"), level("critical", "temperature > 80")})}}));
  h.feed({{1, real(20), "d1", real(60)},
          {2, real(90), "d1", null()},
          {3, real(20), "d1", null()},
          {4, real(20), "d1", real(1)}});
  CHECK(h.take() == lines{"firing warning null @1 d1", "changed critical null @2 d1", "resolved critical null @4 d1"});
}

TEST_CASE("a threshold may be a column or an expression, computed for each record") {
  harness h(one({{"metric", "temperature"}, {"above", "humidity"}, {"clear_below", "humidity - 5.0"}}));
  h.feed({{1, real(60), "d1", real(50)}, {2, real(47), "d1", real(50)}, {3, real(45), "d1", real(50)}});
  CHECK(h.take_fields()[0].at("threshold") == "50");
  h.feed({{4, real(44.9), "d1", real(50)}});  // 45 is not less than 45
  CHECK(h.take() == lines{"resolved warning 44.9 @4 d1"});
  h.feed({{5, real(60), "d2", real(70)}, {6, real(60), "d2", null()}, {7, real(60), "d2", real(59)}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 1);
  CHECK(all[0].at("threshold") == "59");
  CHECK(all[0].at("message") == "r: temperature of u/d2 is 60, above 59");
  CHECK(h.host.sum("alert_values_skipped_total{reason=no_threshold}") == 1);
}

TEST_CASE("a threshold by kind of device; a text with a number is a number") {
  harness h(one({{"metric", "temperature"}, {"above", "device_id.startsWith('oven') ? 200 : 30.5"}}));
  h.feed({{1, real(150), "oven1"}, {2, real(31), "room"}, {3, real(201), "oven2"}});
  CHECK(h.take() == lines{"firing warning 31 @2 room", "firing warning 201 @3 oven2"});
  harness fixed(one({{"metric", "temperature"}, {"above", "80"}}));
  fixed.feed({{1, real(80)}, {2, real(81)}});
  CHECK(fixed.take() == lines{"firing warning 81 @2 d1"});
}

TEST_CASE("outside and severities with computed limits") {
  harness h(one({{"metric", "temperature"}, {"outside", list({"humidity - 10.0", "humidity + 10.0"})}}));
  h.feed({{1, real(50), "d1", real(50)}, {2, real(39), "d1", real(50)}, {3, real(50), "d1", real(45)}});
  const auto all = h.take_fields();
  REQUIRE(all.size() == 2);
  CHECK((all[0].at("threshold") == "40" && all[1].at("state") == "resolved"));
  const auto level = [](const char* severity, pl::testing::config_value above) {
    return object({{"severity", severity}, {"above", std::move(above)}});
  };
  harness two(
      one({{"metric", "temperature"}, {"severities", list({level("warning", 30), level("critical", "humidity")})}}));
  two.feed({{1, real(31), "d1", real(50)}, {2, real(51), "d1", real(50)}});
  CHECK(two.take() == lines{"firing warning 31 @1 d1", "changed critical 51 @2 d1"});
}

TEST_CASE("a rate may have a computed limit, and a missing limit does not break the sequence of readings") {
  harness h(one({{"metric", "temperature"}, {"rate_of_change", "second"}, {"above", "humidity"}}));
  h.feed({{1, real(10), "d1", real(5)},
          {2, real(20), "d1", null()},
          {3, real(22), "d1", real(5)},
          {4, real(30), "d1", real(5)}});
  CHECK(h.take() == lines{"firing warning 8 @4 d1"});
}

TEST_CASE("mistakes in expressions are reported with their place") {
  CHECK(faults_of({{"when", "temperature > 30"}}).empty());
  CHECK(faults_of({{"metric", "temperature"}, {"above", "humidity"}}).empty());
  CHECK(faults_of({{"when", "temperature >"}}).find("rules[0].when@") == 0);
  CHECK(faults_of({{"when", "temprature > 1"}}).find("rules[0].when@0: ") == 0);
  CHECK(faults_of({{"when", "temperature + 1"}}).find("rules[0].when@") == 0);
  CHECK(faults_of({{"metric", "temperature"}, {"above", "humidty"}}).find("rules[0].above@0: ") == 0);
  CHECK(faults_of({{"metric", "temperature"}, {"above", "status"}}) ==
        "rules[0].above: the threshold has the kind text; it must be a number");
  CHECK(faults_of({{"metric", "temperature"}, {"above", true}}) ==
        "rules[0].above: a threshold must be a number or an expression");
  CHECK(
      faults_of({{"when", "true"}, {"above", 3}}).find("rules[0].when: rule 'r' has two conditions, above and when") ==
      0);
  CHECK(faults_of({{"when", "true"}, {"clear_below", 3}}) ==
        "rules[0].clear_below: hysteresis applies only to above, below and outside; remove it from when");
  CHECK(faults_of({{"when", "true"}, {"rate_of_change", "minute"}}).find("not when") != std::string::npos);
}

TEST_CASE("an expression that changes: the alert continues under its id and is evaluated anew") {
  harness first(one({{"when", "temperature > 30"}}));
  first.feed({{1, real(31)}});
  const auto opened = first.take_fields();
  const auto kept = first.stop();
  harness same(one({{"when", "temperature > 30"}}));
  same.restore(kept, "telemetry/0", 1);
  same.feed({{2, real(32)}});
  CHECK(same.take() == lines{});
  harness changed(one({{"when", "temperature > 50"}}));
  changed.restore(kept, "telemetry/0", 1);
  changed.feed({{2, real(32)}});
  const auto closed = changed.take_fields();
  REQUIRE(closed.size() == 1);
  CHECK(closed[0].at("state") == "resolved");
  CHECK(closed[0].at("id") == opened.at(0).at("id"));
}

TEST_CASE("the kinds of the alerts' columns: no threshold, and no value without a metric") {
  pl::testing::fake_host host;
  pl::testing::instance i(host, component(), {{"rules", list(one({{"when", "temperature > 30"}}))}});
  REQUIRE(i.create() == PL_OK);
  const auto* in = pl::context(&host.raw()).schema({"time", "user_id", "device_id", "temperature"});
  pl::column_set out;
  REQUIRE(ask_columns(component(), i.self(), {in, {PL_TIME_NS, PL_TEXT, PL_TEXT, PL_F64}}, 0, out) == PL_OK);
  CHECK(out.kind_of("value") == PL_F64);
  CHECK(out.kind_of("threshold") == PL_F64);
}
