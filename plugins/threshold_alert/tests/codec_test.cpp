// SPDX-License-Identifier: Apache-2.0
// Tests of stored state: round trips, damage, other versions, other rules, and evaluation after a restore.
#include "codec.hpp"

#include "evaluator.hpp"
#include "harness.hpp"
#include "restore.hpp"
#include "rule_identity.hpp"

#include <random>

using namespace threshold_alert;

namespace {

trace_record sample_trace() {
  trace_record t;
  t.grouping = UINT32_MAX;
  t.newest = 1'700'000'000'123'456'789;
  t.seen = 1'700'000'000'000'000'000;
  t.seen_is_reading = true;
  t.position = 42;
  t.slots = {{fingerprint("a"), 7, -5, 0x4009'21fb'5444'2d18}, {fingerprint("b"), 8, INT64_MAX, PL_UNKNOWN}};
  t.runs = {{fingerprint("c"), 9, {{1, 2}, {INT64_MIN, UINT32_MAX}, {}}, 5, {0, UINT64_MAX}}};
  return t;
}

alerts_record sample_alerts() {
  alerts_record a;
  alert_state s;
  s.level = 1;
  s.last_flip = -3;
  s.fired = {1, 2, INT64_MAX};
  s.alert = open_alert{uuid5(alert_name_space(), "x"), 7, 8, 1, -1, true, 81.5};
  a.grouping = 3;
  a.entries = {{fingerprint("a"), 4, s, true, true, "critical"},
               {fingerprint("b"), 5, alert_state{}, false, false, {}}};
  return a;
}

rules_record sample_rules() {
  return {{"user_id", "device_id"}, {{"hot", "temperature", R"({"team":"cooling"})", false}, {"silent", "", "", true}}};
}

}  // namespace

TEST_CASE("decoding returns the encoded records") {
  CHECK(*decode_trace(encode(sample_trace())) == sample_trace());
  CHECK(*decode_trace(encode(trace_record{})) == trace_record{});
  CHECK(*decode_alerts(encode(sample_alerts())) == sample_alerts());
  CHECK(*decode_alerts(encode(alerts_record{})) == alerts_record{});
  CHECK(*decode_stream(encode(stream_record{-12})) == stream_record{-12});
  CHECK(*decode_stream(encode(stream_record{})) == stream_record{});
  CHECK(*decode_rules(encode(sample_rules())) == sample_rules());
  CHECK(*decode_rules(encode(rules_record{})) == rules_record{});
  auto counted = sample_trace();
  counted.silences_ended = 200;
  CHECK(*decode_trace(encode(counted)) == counted);
  auto kept = sample_rules();
  kept.keeps_published = true;
  CHECK(*decode_rules(encode(kept)) == kept);
  for (const auto position : {std::uint64_t{0}, std::uint64_t{42}, PL_UNKNOWN}) {
    const published_record published{position, sample_alerts()};
    CHECK(*decode_published(encode(published)) == published);
    for (std::size_t n = 0; n < encode(published).size(); ++n)
      CHECK_FALSE(decode_published(encode(published).substr(0, n)).ok());
  }
}

TEST_CASE("a quiet device has a small trace and an empty alerts record") {
  trace_record t;
  t.newest = 1'700'000'000'123'456'789;
  t.seen = t.newest + 5'000'000;
  t.position = 1'000'000'000;
  t.grouping = UINT32_MAX;
  CHECK(encode(t).size() <= 28);
  CHECK(encode(alerts_record{}).size() == 3);
}

TEST_CASE("another version is an error whose message names the remedy") {
  auto bytes = encode(sample_trace());
  bytes[0] = 9;
  const auto read = decode_trace(bytes);
  REQUIRE_FALSE(read.ok());
  CHECK(read.why().message ==
        "the stored trace of threshold_alert has version 9, and this plugin reads versions 1 to 3; use the plugin "
        "version "
        "that wrote it, or delete the stored state");
  CHECK_FALSE(decode_alerts(bytes).ok());
  CHECK_FALSE(decode_stream("").ok());
}

TEST_CASE("truncation at any byte and trailing bytes are errors") {
  for (const auto& bytes : {encode(sample_trace()), encode(sample_alerts())}) {
    const bool is_trace = bytes == encode(sample_trace());
    for (std::size_t n = 0; n < bytes.size(); ++n)
      CHECK_FALSE((is_trace ? decode_trace(bytes.substr(0, n)).ok() : decode_alerts(bytes.substr(0, n)).ok()));
    CHECK_FALSE((is_trace ? decode_trace(bytes + "x").ok() : decode_alerts(bytes + "x").ok()));
  }
  CHECK(decode_trace(encode(sample_trace()) + "x").why().message ==
        "the stored trace of threshold_alert is damaged (1 bytes too long); delete it: its devices then count as new");
}

TEST_CASE("random bytes do not crash the decoder") {
  std::mt19937 random(1);
  std::size_t readable = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (auto& b : bytes) b = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
    if (!bytes.empty()) bytes[0] = static_cast<char>(1 + i % 3);
    readable += decode_trace(bytes).ok() + decode_alerts(bytes).ok() + decode_stream(bytes).ok();
    readable += decode_rules(bytes).ok();
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

std::vector<std::string> texts_of(std::span<const event> events) {
  std::vector<std::string> all;
  for (const auto& event : events)
    all.push_back(uuid_text(event.what.alert.id) + std::string(name_of(event.what.kind)) +
                  std::to_string(event.what.level) + " " + std::to_string(event.time) + " " +
                  std::to_string(event.position) + " " + number_text(pl::number_of(event.value).value_or(-1)));
  return all;
}

// Encode the whole state of `from` and restore it in `to`.
void carry_over(rule_set& rules, evaluator& from, evaluator& to) {
  auto &old_stream = from.stream("s"), &new_stream = to.stream("s");
  new_stream.greatest = decode_stream(encode(stream_record{old_stream.greatest}))->greatest;
  new_stream.caught_up = old_stream.caught_up;
  old_stream.keys.for_each([&](const key_node& n) {
    auto& copy = to.node(new_stream, n.key());
    key_restorer(rules, to.store(), new_stream.stored)
        .snapshot(*decode_trace(encode(trace_of(rules, n))), *decode_alerts(encode(alerts_of(rules, n))), copy);
    to.restored(new_stream, copy);
  });
}

}  // namespace

TEST_CASE("an evaluator with restored state returns the same events as one that never stopped") {
  auto rules = compiled(some_rules());
  pl::testing::fake_host host;
  for (const std::uint32_t seed : {1U, 2U, 3U}) {
    std::mt19937 random(seed);
    std::int64_t now = 1'700'000'000'000'000'000;
    evaluator straight(rules, "p", "n");
    auto moved = std::make_unique<evaluator>(rules, "p", "n");
    std::size_t events = 0;
    for (std::uint64_t batch = 0; batch < 30; ++batch) {
      const auto b = readings(host, random, now, batch * 200);
      const auto expected = straight.apply(b.get(), places);
      CHECK(texts_of(moved->apply(b.get(), places)) == texts_of(expected));
      events += expected.size();
      auto next = std::make_unique<evaluator>(rules, "p", "n");
      carry_over(rules, *moved, *next);
      for (std::size_t r = 0; r < rules.rules.size(); ++r)
        CHECK(next->open_alerts(rules.rules[r].name) == moved->open_alerts(rules.rules[r].name));
      moved = std::move(next);
    }
    CHECK(events > 300);
  }
}

TEST_CASE("restored state fits rules in another order; alerts of removed rules belong to retired ones") {
  auto given = some_rules();
  auto before = compiled(given);
  std::reverse(given.rules.begin(), given.rules.end());
  given.rules.pop_back();  // hot is gone
  auto after = compiled(given);

  pl::testing::fake_host host;
  std::mt19937 random(7);
  std::int64_t now = 1'700'000'000'000'000'000;
  evaluator old(before, "p", "n"), fresh(after, "p", "n");
  for (std::uint64_t batch = 0; batch < 5; ++batch)
    (void)old.apply(readings(host, random, now, batch * 200).get(), places);
  auto& s = fresh.stream("s");
  s.stored = rules_of(before);
  old.stream("s").keys.for_each([&](const key_node& n) {
    auto& copy = fresh.node(s, n.key());
    key_restorer(after, fresh.store(), s.stored).snapshot(trace_of(before, n), alerts_of(before, n), copy);
    fresh.restored(s, copy);
    const auto rule = [](const rule_set& rules, std::string_view name) {
      std::size_t i = 0;
      while (rules.rules[i].name != name) ++i;
      return &rules.rules[i];
    };
    const auto *was = rule(before, "jump"), *is = rule(after, "jump");
    CHECK(copy.slot(*is->slot).time == n.slot(*was->slot).time);
  });
  CHECK(fresh.keys() == old.keys());
  CHECK(fresh.open_alerts("hot") == old.open_alerts("hot"));
  CHECK(fresh.open_alerts("hot") > 0);
  CHECK(after.rules.back().retired == end_reason::rule_removed);
  CHECK(texts_of(fresh.tick(now)).size() >= static_cast<std::size_t>(old.open_alerts("hot")));
  CHECK(fresh.open_alerts("hot") == 0);
}
