// SPDX-License-Identifier: Apache-2.0
// Stored state: round trips, damage, other versions, other rules, and going on from it.
#include "codec.hpp"

#include "harness.hpp"

#include <random>

using namespace threshold_alert;

namespace {

trace_record sample_trace() {
  trace_record t;
  t.newest = 1'700'000'000'123'456'789;
  t.position = 42;
  t.slots = {{fingerprint("a"), -5, 0x4009'21fb'5444'2d18}, {fingerprint("b"), INT64_MAX, PL_UNKNOWN}};
  t.runs = {{fingerprint("c"), {{1, 2}, {INT64_MIN, UINT32_MAX}, {}}}};
  return t;
}

alerts_record sample_alerts() {
  alerts_record a;
  alert_state s;
  s.level = 1;
  s.last_flip = -3;
  s.fired = {1, 2, INT64_MAX};
  s.alert = open_alert{uuid5(alert_name_space(), "x"), 7, 8, 1, -1, true};
  a.entries = {{fingerprint("a"), s}, {fingerprint("b"), alert_state{}}};
  return a;
}

}  // namespace

TEST_CASE("what is written is read back") {
  CHECK(*decode_trace(encode(sample_trace())) == sample_trace());
  CHECK(*decode_trace(encode(trace_record{})) == trace_record{});
  CHECK(*decode_alerts(encode(sample_alerts())) == sample_alerts());
  CHECK(*decode_alerts(encode(alerts_record{})) == alerts_record{});
  CHECK(*decode_stream(encode(stream_record{-12})) == stream_record{-12});
  CHECK(*decode_stream(encode(stream_record{})) == stream_record{});
}

TEST_CASE("a quiet device's trace is small, and its alerts are nothing") {
  trace_record t;
  t.newest = 1'700'000'000'123'456'789;
  t.position = 1'000'000'000;
  CHECK(encode(t).size() <= 20);
  CHECK(encode(alerts_record{}).size() == 2);
}

TEST_CASE("another version is an error that says what to do") {
  auto bytes = encode(sample_trace());
  bytes[0] = 9;
  const auto read = decode_trace(bytes);
  REQUIRE_FALSE(read.ok());
  CHECK(read.why().message ==
        "the stored trace of threshold_alert has version 9, and this plugin reads version 1; use the version of the "
        "plugin that wrote "
        "it, or drop the stored state");
  CHECK_FALSE(decode_alerts(bytes).ok());
  CHECK_FALSE(decode_stream("").ok());
}

TEST_CASE("damage is an error, at every byte") {
  for (const auto& bytes : {encode(sample_trace()), encode(sample_alerts())}) {
    const bool is_trace = bytes == encode(sample_trace());
    for (std::size_t n = 0; n < bytes.size(); ++n)
      CHECK_FALSE((is_trace ? decode_trace(bytes.substr(0, n)).ok() : decode_alerts(bytes.substr(0, n)).ok()));
    CHECK_FALSE((is_trace ? decode_trace(bytes + "x").ok() : decode_alerts(bytes + "x").ok()));
  }
  CHECK(decode_trace(encode(sample_trace()) + "x").why().message ==
        "the stored trace of threshold_alert is damaged (1 bytes too long); drop it: its devices are then seen as new");
}

TEST_CASE("random bytes never do harm") {
  std::mt19937 random(1);
  std::size_t readable = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (auto& b : bytes) b = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
    if (!bytes.empty()) bytes[0] = 1;
    readable += decode_trace(bytes).ok() + decode_alerts(bytes).ok() + decode_stream(bytes).ok();
  }
  CHECK(readable > 0);
}

namespace {

options some_rules() {
  options o;
  rule_options hot;
  hot.name = "hot";
  hot.metric = "temperature";
  hot.severities.resize(2);
  hot.severities[0].severity = "warning";
  hot.severities[0].above = 70;
  hot.severities[1].severity = "critical";
  hot.severities[1].above = 90;
  hot.hold_for = std::chrono::seconds(3);
  hot.flapping = flapping_options{2, std::chrono::seconds(60)};
  rule_options jump;
  jump.name = "jump";
  jump.metric = "temperature";
  jump.rate_of_change = rate_unit::second;
  jump.above = 15;
  rule_options silent;
  silent.name = "silent";
  silent.missing_for = std::chrono::seconds(20);
  silent.repeat_interval = std::chrono::seconds(15);
  rule_options no_value;
  no_value.name = "no_value";
  no_value.metric = "temperature";
  no_value.missing_for = std::chrono::seconds(25);
  o.rules = {hot, jump, silent, no_value};
  return o;
}

rule_set compiled(const options& o) {
  return compile(o, [](std::string_view option, std::string_view message) {
    FAIL(std::string(option).append(": ").append(message));
  });
}

const column_places places{0, {1, 2}, {3, 3, std::nullopt, 3}};

pl::batch readings(pl::testing::fake_host& host, std::mt19937& random, std::int64_t& now, std::uint64_t first) {
  std::vector<pl::cell> time, user, device, temperature;
  static constexpr std::string_view names[] = {"a", "b", "c", "d", "e"};
  for (int i = 0; i < 200; ++i) {
    now += static_cast<std::int64_t>(random() % 2'000'000'000);
    time.push_back(pl::time_cell(now));
    user.push_back(pl::text_cell("u"));
    device.push_back(pl::text_cell(names[(random() % 40 + random() % 2) % 5 * (random() % 3 != 0)]));
    temperature.push_back(random() % 5 == 0 ? pl::null_cell() : pl::real_cell(static_cast<double>(random() % 60) + 40));
  }
  return host.make_batch({{"time", time}, {"user_id", user}, {"device_id", device}, {"temperature", temperature}}, "s",
                         first);
}

std::vector<std::string> told(const evaluator& e) {
  std::vector<std::string> all;
  for (const auto& event : e.events())
    all.push_back(uuid_text(event.what.alert.id) + std::string(name_of(event.what.kind)) +
                  std::to_string(event.what.level) + " " + std::to_string(event.time) + " " +
                  std::to_string(event.position) + " " + number_text(pl::number_of(event.value).value_or(-1)));
  return all;
}

// Everything of `from` through bytes into `to`.
void carry_over(const rule_set& rules, evaluator& from, evaluator& to) {
  auto &old_stream = from.stream("s"), &new_stream = to.stream("s");
  new_stream.greatest = decode_stream(encode(stream_record{old_stream.greatest}))->greatest;
  new_stream.caught_up = old_stream.caught_up;
  old_stream.keys.for_each([&](const key_node& n) {
    auto& copy = to.node(new_stream, n.key());
    restore(rules, *decode_trace(encode(trace_of(rules, n))), *decode_alerts(encode(alerts_of(rules, n))), copy);
    to.restored(new_stream, copy);
  });
}

}  // namespace

TEST_CASE("from stored state everything goes on as if it had never stopped") {
  const auto rules = compiled(some_rules());
  pl::testing::fake_host host;
  for (const std::uint32_t seed : {1U, 2U, 3U}) {
    std::mt19937 random(seed);
    std::int64_t now = 1'700'000'000'000'000'000;
    evaluator straight(rules, "p", "n");
    auto moved = std::make_unique<evaluator>(rules, "p", "n");
    std::size_t events = 0;
    for (std::uint64_t batch = 0; batch < 30; ++batch) {
      const auto b = readings(host, random, now, batch * 200);
      straight.apply(b.get(), places);
      moved->apply(b.get(), places);
      CHECK(told(*moved) == told(straight));
      events += straight.events().size();
      auto next = std::make_unique<evaluator>(rules, "p", "n");
      carry_over(rules, *moved, *next);
      for (std::size_t r = 0; r < rules.rules.size(); ++r) CHECK(next->open_alerts(r) == moved->open_alerts(r));
      moved = std::move(next);
    }
    CHECK(events > 300);
  }
}

TEST_CASE("state finds its rules in another order, and leaves out what is no longer there") {
  auto given = some_rules();
  const auto before = compiled(given);
  std::reverse(given.rules.begin(), given.rules.end());
  given.rules.pop_back();  // hot is gone
  given.rules[2].over = std::chrono::seconds(1);
  const auto after = compiled(given);

  pl::testing::fake_host host;
  std::mt19937 random(7);
  std::int64_t now = 1'700'000'000'000'000'000;
  evaluator old(before, "p", "n"), fresh(after, "p", "n");
  for (std::uint64_t batch = 0; batch < 5; ++batch) old.apply(readings(host, random, now, batch * 200).get(), places);
  auto& s = fresh.stream("s");
  old.stream("s").keys.for_each([&](const key_node& n) {
    auto& copy = fresh.node(s, n.key());
    restore(after, trace_of(before, n), alerts_of(before, n), copy);
    fresh.restored(s, copy);
    const auto rule = [](const rule_set& rules, std::string_view name) {
      std::size_t i = 0;
      while (rules.rules[i].name != name) ++i;
      return &rules.rules[i];
    };
    const auto *was = rule(before, "jump"), *is = rule(after, "jump");
    CHECK(copy.slot(*is->slot).time == n.slot(*was->slot).time);
    for (const auto& e : alerts_of(after, copy).entries) CHECK(e.rule != fingerprint("hot"));
  });
  CHECK(fresh.keys() == old.keys());
}
