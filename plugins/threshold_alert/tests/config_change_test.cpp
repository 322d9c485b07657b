// SPDX-License-Identifier: Apache-2.0
// Tests of open alerts across changes of the configuration. A restart and a reload use the same functions: the stored
// state of one instance is restored by the next one.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

using pl::testing::config_value;

config_value hot(config_fields more = {}) {
  config_fields fields{{"name", "hot"}, {"metric", "temperature"}, {"above", 80.0}};
  for (auto& [key, value] : more) {
    std::erase_if(fields, [&](const auto& f) { return f.first == key; });
    fields.emplace_back(key, value);
  }
  return object(fields);
}

config_value silent(std::chrono::seconds missing_for = 60s, config_fields more = {}) {
  config_fields fields{{"name", "silent"}, {"missing_for", missing_for}};
  fields.insert(fields.end(), more.begin(), more.end());
  return object(fields);
}

// An instance that continues from the stored state of another.
struct next_instance : harness {
  next_instance(harness& before, config_fields options) : harness(std::move(options)) { take_over(before); }
  next_instance(harness& before, std::vector<config_value> rules) : harness(std::move(rules)) { take_over(before); }
  void take_over(harness& before) { restore(before.stop(), "telemetry/0", before.next()); }
};

std::string id_of_only(harness& h) {
  const auto all = h.take_fields();
  REQUIRE(all.size() == 1);
  return all[0].at("id");
}

}  // namespace

TEST_CASE("an added rule changes nothing for the others: state and ids stay") {
  harness before({hot({{"times", 3}})});
  before.feed({{0, real(85), "a"}, {1, real(85), "a"}, {2, real(85), "a"}, {3, real(85), "b"}, {4, real(85), "b"}});
  const auto id = id_of_only(before);
  next_instance after(before, {silent(), hot({{"times", 3}})});
  after.tick(5);
  CHECK(after.take() == lines{});
  CHECK(after.host.last("alerts_open{rule=hot}") == 1);
  after.feed({{5, real(85), "b"}, {6, real(70), "a"}});
  const auto all = after.take_fields();
  REQUIRE(all.size() == 2);
  CHECK((all[0].at("device_id") == "b" && all[0].at("state") == "firing"));  // its third reading
  CHECK((all[1].at("id") == id && all[1].at("state") == "resolved"));
  CHECK(after.host.last("alerts_open{rule=hot}") == 1);
}

TEST_CASE("a changed threshold continues the alert under its id, and the next reading is evaluated anew") {
  for (const double limit : {70.0, 84.0, 90.0}) {
    CAPTURE(limit);
    harness before({hot({{"clear_below", 75.0}})});
    before.feed({{0, real(85)}});
    const auto id = id_of_only(before);
    next_instance after(before, {hot({{"above", limit}})});
    after.tick(1);
    CHECK(after.take() == lines{});
    after.feed({{1, real(85)}});
    const auto all = after.take_fields();
    CHECK(all.size() == (limit > 85 ? 1 : 0));
    if (!all.empty()) {
      CHECK((all[0].at("id") == id && all[0].at("state") == "resolved"));
      CHECK(all[0].at("message") == "hot: temperature of u/d1 is 85, no longer above 90");
    }
    CHECK(after.host.last("alerts_open{rule=hot}") == (limit > 85 ? 0 : 1));
    after.feed({{2, real(60)}});
    const auto rest = after.take_fields();
    CHECK(rest.size() == (limit > 85 ? 0 : 1));
    if (!rest.empty()) CHECK((rest[0].at("id") == id && rest[0].at("state") == "resolved"));
  }
}

TEST_CASE("hysteresis does not hold an alert that the changed threshold never raised, not even after another restart") {
  harness before({hot({{"clear_below", 60.0}})});
  before.feed({{0, real(81)}});
  before.take();
  const auto changed = hot({{"above", 90.0}, {"clear_below", 60.0}, {"keep_firing_for", 10s}});
  next_instance after(before, {changed});
  after.feed({{1, real(85)}, {5, real(85)}});
  next_instance again(after, {changed});
  again.feed({{11, real(85)}});
  CHECK(again.take() == lines{"resolved warning 85 @11 d1"});
}

TEST_CASE("hysteresis holds as before if only durations and counts changed") {
  harness before({hot({{"clear_below", 75.0}, {"for", 1s}})});
  before.feed({{0, real(85), "a"}, {1, real(85), "a"}, {1, real(85), "b"}});
  before.take();
  next_instance after(before, {hot({{"clear_below", 75.0}, {"for", 5s}, {"times", 2}})});
  after.feed({{2, real(78), "a"}, {5, real(85), "b"}, {6, real(85), "b"}, {7, real(74), "a"}});
  CHECK(after.take() == lines{"firing warning 85 @6 b", "resolved warning 74 @7 a"});
}

TEST_CASE("a changed severity is sent with the next evaluation, under the same id") {
  harness before({hot(), silent()});
  before.feed({{0, real(85), "a"}, {30, real(20), "b"}, {61, real(20), "c"}});
  auto opened = before.take_fields();
  REQUIRE(opened.size() == 2);
  next_instance after(before, {hot({{"severity", "critical"}}), silent(60s, {{"severity", "info"}})});
  after.feed({{61.5, real(20), "c"}}, "telemetry/0", 0);
  after.tick(62);
  auto changed = after.take_fields();
  REQUIRE(changed.size() == 1);
  CHECK((changed[0].at("id") == opened[1].at("id") && changed[0].at("state") == "changed"));
  CHECK((changed[0].at("severity") == "info" && changed[0].at("rule") == "silent"));
  after.feed({{63, real(86), "a"}});
  changed = after.take_fields();
  REQUIRE(changed.size() == 2);
  CHECK((changed[0].at("id") == opened[0].at("id") && changed[0].at("state") == "changed"));
  CHECK(changed[0].at("severity") == "critical");
  CHECK(changed[1].at("state") == "resolved");  // the silence
  after.feed({{64, real(86), "a"}});
  CHECK(after.take() == lines{});
}

TEST_CASE("severities that are added and removed: the alert keeps the level of its severity") {
  const auto levels = [](std::vector<std::pair<const char*, double>> of) {
    std::vector<config_value> all;
    for (const auto& [severity, above] : of) all.push_back(object({{"severity", severity}, {"above", above}}));
    return object({{"name", "hot"}, {"metric", "temperature"}, {"severities", list(all)}});
  };
  harness before({levels({{"warning", 80}})});
  before.feed({{0, real(85)}});
  const auto id = id_of_only(before);
  next_instance more(before, {levels({{"info", 70}, {"warning", 80}, {"critical", 90}})});
  more.feed({{1, real(85)}});
  CHECK(more.take() == lines{});
  more.feed({{2, real(95)}});
  CHECK(more.take() == lines{"changed critical 95 @2 d1"});
  next_instance less(more, {levels({{"info", 70}, {"warning", 80}})});
  less.feed({{3, real(95)}});
  CHECK(less.take() == lines{"changed warning 95 @3 d1"});
  less.feed({{4, real(60)}});
  CHECK(id_of_only(less) == id);
}

TEST_CASE("a rule that is removed or renamed: one `resolved` under the old id, with the reason and the rule's texts") {
  harness before({hot({{"severity", "critical"}, {"labels", object({{"team", "cooling"}})}}), silent()});
  before.feed({{0, real(85), "a"}, {1, real(20), "b"}, {100, real(20), "c"}});
  const auto opened = before.take_fields();
  REQUIRE(opened.size() == 3);
  next_instance after(before, {object({{"name", "hotter"}, {"metric", "temperature"}, {"above", 80.0}})});
  CHECK(after.host.last("alerts_open{rule=hot}") == 1);
  CHECK(after.host.last("alerts_open{rule=silent}") == 2);
  after.tick(200);
  auto ended = after.take_fields();
  REQUIRE(ended.size() == 3);
  for (const auto& e : ended) {
    CHECK(e.at("state") == "resolved");
    CHECK(e.at("message").ends_with("rule removed from the configuration"));
    const auto same = std::ranges::find_if(opened, [&](const auto& o) { return o.at("id") == e.at("id"); });
    REQUIRE(same != opened.end());
    for (const auto* column : {"rule", "severity", "user_id", "device_id", "since"})
      CHECK(e.at(column) == same->at(column));
    CHECK(e.contains("labels") == same->contains("labels"));
    CHECK(e.contains("metric") == same->contains("metric"));
  }
  CHECK(after.host.last("alerts_open{rule=hot}") == 0);
  CHECK(after.host.last("alerts_open{rule=silent}") == 0);
  CHECK(after.host.sum("alert_events_total{rule=hot,state=resolved}") == 1);
  next_instance again(after, {object({{"name", "hotter"}, {"metric", "temperature"}, {"above", 80.0}})});
  again.tick(201);
  again.feed({{201, real(85), "a"}});
  const auto fired = again.take_fields();
  REQUIRE(fired.size() == 1);
  CHECK((fired[0].at("rule") == "hotter" && fired[0].at("state") == "firing"));
}

TEST_CASE("a rule that returns before its alert was resolved continues it") {
  harness before({hot()});
  before.feed({{0, real(85)}});
  const auto id = id_of_only(before);
  next_instance without(before, {silent()});
  next_instance with(without, {hot(), silent()});
  with.tick(1);
  CHECK(with.take() == lines{});
  with.feed({{2, real(70)}});
  CHECK(id_of_only(with) == id);
}

TEST_CASE("match is narrowed: alerts of the excluded devices are resolved, the others continue") {
  harness before({hot()});
  before.feed({{0, real(85), "pump-1"}, {0, real(85), "valve-1"}});
  const auto opened = before.take_fields();
  next_instance after(before, {hot({{"match", object({{"device_id", "valve-*"}})}})});
  after.tick(1);
  const auto ended = after.take_fields();
  REQUIRE(ended.size() == 1);
  CHECK((ended[0].at("id") == opened[0].at("id") && ended[0].at("state") == "resolved"));
  CHECK(ended[0].at("message") == "hot: resolved for u/pump-1: the rule's match no longer includes this device");
  after.feed({{2, real(85), "pump-1"}, {3, real(70), "valve-1"}});
  CHECK(after.take() == lines{"resolved warning 70 @3 valve-1"});
  CHECK(after.host.last("alerts_open{rule=hot}") == 0);
}

TEST_CASE("a longer missing_for resolves a silence that it does not cover yet, a shorter one fires at once") {
  harness before({silent(60s)});
  before.feed({{0, {}, "a"}, {50, {}, "b"}, {61, {}, "b"}}, "telemetry/0", 0);
  const auto id = id_of_only(before);
  next_instance longer(before, {silent(600s)});
  longer.feed({{62, {}, "b"}}, "telemetry/0", 0);
  longer.tick(70);
  const auto ended = longer.take_fields();
  REQUIRE(ended.size() == 1);
  CHECK((ended[0].at("id") == id && ended[0].at("state") == "resolved"));
  CHECK(ended[0].at("message") == "silent: resolved for u/a: the rule was changed, and its condition does not hold");
  longer.tick(601);
  CHECK(longer.take() == lines{"firing warning 600 @600 a"});
  next_instance shorter(longer, {silent(10s)});
  shorter.feed({{602, {}, "c"}}, "telemetry/0", 0);
  shorter.tick(603);
  CHECK(shorter.take() == lines{"firing warning 10 @72 b"});
}

TEST_CASE("a rule that becomes a silence rule, or stops being one, ends its alert") {
  harness before({hot(), silent()});
  before.feed({{0, real(85), "a"}, {61, real(20), "b"}});
  const auto opened = before.take_fields();
  REQUIRE(opened.size() == 2);
  next_instance after(before, {object({{"name", "hot"}, {"missing_for", 3600s}}),
                               object({{"name", "silent"}, {"metric", "temperature"}, {"above", 80.0}})});
  after.tick(62);
  CHECK(after.take_fields().size() == 2);
  CHECK(after.host.last("alerts_open{rule=hot}") == 0);
  CHECK(after.host.last("alerts_open{rule=silent}") == 0);
}

TEST_CASE("group_by changed: old alerts are resolved, this is logged, and the state starts anew") {
  const auto rules = list({hot(), silent(60s, {{"repeat_interval", 30s}})});
  harness before(config_fields{{"rules", rules}});
  before.feed({{0, real(85), "a"}, {1, real(20), "b"}, {62, real(20), "c"}}, "telemetry/0", 0);
  auto opened = before.take_fields();
  REQUIRE(opened.size() == 3);
  const config_fields by_device{{"group_by", list({"device_id"})}, {"rules", rules}};
  next_instance after(before, by_device);
  REQUIRE(after.host.logs().size() == 1);
  CHECK(after.host.logs()[0].message ==
        "group_by changed from [user_id, device_id] to [device_id]: 3 open alerts of stream telemetry/0 are resolved, "
        "and the state of its 3 devices starts anew");
  CHECK(after.host.last("alerts_open{rule=silent}") == 2);
  after.tick(63);
  const auto ended = after.take_fields();
  REQUIRE(ended.size() == 3);
  for (const auto& e : ended) {
    CHECK(e.at("state") == "resolved");
    CHECK_FALSE(e.contains("user_id"));
    CHECK(e.at("message").ends_with("group_by changed from [user_id, device_id] to [device_id]"));
    CHECK(std::ranges::count_if(opened, [&](const auto& o) {
            return o.at("id") == e.at("id") && o.at("device_id") == e.at("device_id");
          }) == 1);
  }
  CHECK(after.host.last("alerts_open{rule=silent}") == 0);
  after.feed({{64, real(85), "a"}}, "telemetry/0", 0);
  CHECK(after.take() == lines{"firing warning 85 @64 a"});
  next_instance again(after, by_device);
  again.tick(65);
  CHECK(again.take() == lines{});
  CHECK(again.host.logs().empty());
  CHECK(again.host.last("alerts_open{rule=hot}") == 1);
}

TEST_CASE("group_by changed: what was resolved is not resolved again after a crash before the next snapshot") {
  harness before({hot(), silent()});
  before.feed({{0, real(85), "a"}, {1, real(20), "b"}, {62, real(20), "c"}}, "telemetry/0", 0);
  REQUIRE(before.take_fields().size() == 3);
  const config_fields by_device{{"group_by", list({"device_id"})}, {"rules", list({hot(), silent()})}};
  next_instance after(before, by_device);
  after.tick(63);
  CHECK(after.take_fields().size() == 3);
  after.host.deliver();
  harness crashed(by_device);
  crashed.restore(after.host.state(), "telemetry/0", after.next());
  CHECK(crashed.host.logs().empty());
  crashed.tick(64);
  CHECK(crashed.take() == lines{});
  CHECK(crashed.host.last("alerts_open{rule=hot}") == 0);
}

TEST_CASE("group_by changed to other columns of the same number: keys do not pass for the new ones") {
  harness before({hot()});
  before.feed({{0, real(85), "a"}});
  const auto id = id_of_only(before);
  next_instance after(before, config_fields{{"group_by", list({"device_id", "user_id"})}, {"rules", list({hot()})}});
  after.tick(1);
  const auto ended = after.take_fields();
  REQUIRE(ended.size() == 1);
  CHECK((ended[0].at("id") == id && ended[0].at("device_id") == "a" && ended[0].at("user_id") == "u"));
}

TEST_CASE("a stop before the first timer does not forget what is to be resolved") {
  harness before({hot()});
  before.feed({{0, real(85), "a"}});
  const auto id = id_of_only(before);
  next_instance stopped(before, {silent()});
  next_instance moved(stopped, config_fields{{"group_by", list({"device_id"})}, {"rules", list({silent()})}});
  next_instance after(moved, config_fields{{"group_by", list({"device_id"})}, {"rules", list({silent()})}});
  after.tick(1);
  const auto ended = after.take_fields();
  REQUIRE(ended.size() == 1);
  CHECK((ended[0].at("id") == id && ended[0].at("rule") == "hot"));
}

TEST_CASE("a removed rule that sends no `resolved` ends on the port `recorded`") {
  harness before({hot({{"send_resolved", false}})});
  before.feed({{0, real(85)}});
  before.take();
  next_instance after(before, {silent()});
  after.tick(1);
  CHECK(after.take() == lines{});
  CHECK(after.take_fields(1).size() == 1);
}
