// SPDX-License-Identifier: Apache-2.0
#include "../alert_ledger.hpp"
#include "../clock.hpp"
#include "../dead_letters.hpp"
#include "../fleet.hpp"
#include "../histogram.hpp"
#include "../ledger.hpp"
#include "../limit.hpp"
#include "../report.hpp"
#include "../schedule.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace pl::load;

namespace {

constexpr std::int64_t second = 1'000'000'000;

std::vector<std::int64_t> times(const schedule_options& o, std::size_t most = 100'000) {
  std::vector<std::int64_t> list;
  for (schedule s(o); const auto due = s.due();) {
    list.push_back(*due);
    s.take();
    if (list.size() == most) break;
  }
  return list;
}

fleet_options some_devices() {
  fleet_options o;
  o.users = 5;
  o.devices_per_user = 2;
  o.run = "abcdef";
  o.device_prefix = "abcdef-";
  return o;
}

reading plain(std::uint32_t device = 0, std::int64_t time_us = 1'000'000) {
  reading r;
  r.device = device;
  r.time_us = time_us;
  r.centi = 2'000;
  return r;
}

std::string alert(const char* state, std::int64_t since_s, std::int64_t time_s, const char* id = "one",
                  const char* rule = "overheating", const char* device = "abcdef-1") {
  return fmt::format(R"({{"id":"{}","rule":"{}","state":"{}","device_id":"{}","since":"1970-01-01T00:00:{:02}Z",)"
                     R"("time":"1970-01-01T00:00:{:02}.5Z"}})",
                     id, rule, state, device, since_s, time_s);
}

// Send a message once and acknowledge it.
std::uint64_t send(ledger& l, const reading& r) {
  const auto seq = l.make(r);
  l.note_sent(seq, r.time_us);
  l.note_acknowledged(seq, r.time_us + 100);
  return seq;
}

stored_row row(std::uint64_t seq, std::uint32_t device = 0, std::int32_t centi = 2'000) { return {seq, device, centi}; }

}  // namespace

TEST_CASE("schedule: messages are due at regular intervals, independently of the sender") {
  const auto list = times({100, 0, 0, 0, 2 * second, 0});
  REQUIRE(list.size() == 200);
  for (std::size_t n = 0; n < list.size(); ++n) CHECK(list[n] == static_cast<std::int64_t>(n) * second / 100);
}

TEST_CASE("schedule: a ramp sends half as many messages as the full rate, and the full rate follows") {
  const auto list = times({100, 2 * second, 0, 0, 4 * second, 0});
  CHECK(list.size() == 300);
  CHECK(std::is_sorted(list.begin(), list.end()));
  CHECK(std::count_if(list.begin(), list.end(), [](auto t) { return t < second; }) == 25);
  CHECK(std::count_if(list.begin(), list.end(), [](auto t) { return t < 2 * second; }) == 100);
  CHECK(std::count_if(list.begin(), list.end(), [](auto t) { return t >= 3 * second; }) == 100);
}

TEST_CASE("schedule: the messages of a burst are additional and due at the same time") {
  const auto list = times({10, 0, 50, second, 3'500'000'000, 0});
  CHECK(list.size() == 35 + 150);
  CHECK(std::is_sorted(list.begin(), list.end()));
  CHECK(std::count(list.begin(), list.end(), 2 * second) == 51);
}

TEST_CASE("schedule: ends at the count or the duration, whichever is first; without a rate every message is due at 0") {
  CHECK(times({100, 0, 0, 0, 0, 7}).size() == 7);
  CHECK(times({100, 0, 0, 0, second, 7}).size() == 7);
  CHECK(times({100, 0, 0, 0, second, 1'000}).size() == 100);
  const auto unpaced = times({0, 0, 0, 0, second, 0}, 1'000);
  CHECK(unpaced.size() == 1'000);
  CHECK(unpaced.back() == 0);
}

TEST_CASE("histogram: percentiles are exact for small values and less than 1 % off for large ones") {
  histogram h;
  for (std::int64_t v = 1; v <= 200; ++v) h.add(v);
  CHECK(h.percentile(50) == 100);
  CHECK(h.percentile(99) == 198);
  CHECK(h.percentile(100) == 200);
  histogram large;
  for (std::int64_t v = 1; v <= 100'000; ++v) large.add(v * 1'000);
  for (const double p : {1.0, 50.0, 95.0, 99.0, 99.9}) {
    const auto exact = p * 1'000'000.0;
    CHECK(std::abs(static_cast<double>(large.percentile(p)) - exact) < exact * 0.01);
  }
  CHECK(large.max() == 100'000'000);
  CHECK(large.count() == 100'000);
  const auto l = summary(large);
  CHECK(l.below.front() == 0);
  CHECK(l.below[3] == 9);  // less than 10 ms
  CHECK(l.below.back() <= 999);
  CHECK(l.below.back() >= 991);
}

TEST_CASE("histogram: handles no values, and zero, negative and huge ones") {
  histogram h;
  CHECK(h.percentile(99) == 0);
  h.add(-5);
  CHECK(h.max() == 0);
  CHECK(h.percentile(50) == 0);
  h.add(INT64_MAX);
  CHECK(h.max() == INT64_MAX);
  CHECK(h.percentile(100) == INT64_MAX);
}

TEST_CASE("clock: times and durations are parsed") {
  CHECK(parse_utc("1970-01-01T00:00:01Z") == 1'000'000);
  CHECK(parse_utc("2026-11-24T18:10:23.5Z") == 1'795'543'823'500'000);
  CHECK(parse_utc("2026-11-24T18:10:23.123456789Z") == 1'795'543'823'123'456);
  for (const auto* wrong :
       {"", "now", "2026-11-24T18:10:23", "2026-13-24T18:10:23Z", "2026-11-24 18:10:23Z", "2026-11-24T18:10:23.Z"})
    CHECK_FALSE(parse_utc(wrong));
  CHECK(parse_duration("250ms") == 250'000'000);
  CHECK(parse_duration("10") == 10 * second);
  CHECK(parse_duration("1.5m") == 90 * second);
  CHECK(parse_duration("2h") == 7200 * second);
  for (const auto* wrong : {"", "s", "-1s", "10x", "1e300h", "nan"}) CHECK_FALSE(parse_duration(wrong));
}

TEST_CASE("fleet: the same seed makes the same readings, and another seed makes others") {
  auto o = some_devices();
  o.duplicates = o.broken = o.anomalies = 20;
  const auto text = [](const fleet_options& options) {
    fleet f(options);
    std::string all;
    for (std::uint64_t n = 0; n < 500; ++n)
      f.append_payload(all, *f.measure(static_cast<std::uint32_t>(n % f.size()), static_cast<std::int64_t>(n)), n, 7);
    return all;
  };
  CHECK(text(o) == text(o));
  auto other = o;
  other.seed = 2;
  CHECK(text(o) != text(other));
}

TEST_CASE("fleet: a message contains the device and the times of measuring and sending, and its number can be found") {
  fleet f(some_devices());
  auto r = *f.measure(3, 1'700'000'000'123'456);
  r.centi = 2'150;
  std::string text;
  f.append_payload(text, r, 42, 1'700'000'000'123'789);
  CHECK(text == R"({"run":"abcdef","seq":42,"sent_us":1700000000123789,"user_id":"user-2","device_id":"abcdef-4",)"
                R"("time":1700000000123,"temperature":21.50,"humidity":44.2,"battery":50.3})");
  CHECK(f.topic(3) == "users/user-2/devices/abcdef-4/telemetry");
  CHECK(find_seq(text, "abcdef") == 42);
}

TEST_CASE("fleet: the number of a broken message can be found, also if the message is quoted") {
  fleet f(some_devices());
  for (const auto broken : {breakage::cut_short, breakage::no_json, breakage::text_number, breakage::bad_time}) {
    auto r = plain();
    r.broken = broken;
    std::string text;
    f.append_payload(text, r, 1234, 5);
    CHECK(find_seq(text, "abcdef") == 1234);
    std::string quoted;
    for (const char c : text) quoted += c == '"' ? std::string("\\\"") : std::string(1, c);
    CHECK(find_seq("{\"value\":\"" + quoted + "\"}", "abcdef") == 1234);
  }
  CHECK_FALSE(find_seq(R"({"device_id":"abcdef-12"})", "abcdef"));
  CHECK_FALSE(find_seq(R"({"run":"ghijkl","seq":1})", "abcdef"));
  CHECK_FALSE(find_seq("abcdef", "abcdef"));
}

TEST_CASE("fleet: faults have about the configured share") {
  auto o = some_devices();
  o.duplicates = 10;
  o.broken = 5;
  o.anomalies = 8;
  fleet f(o);
  int twice = 0, broken = 0, hot = 0;
  constexpr int all = 50'000;
  for (int n = 0; n < all; ++n) {
    const auto r = *f.measure(static_cast<std::uint32_t>(n) % f.size(), n);
    twice += r.copies == 2 ? 1 : 0;
    broken += r.broken != breakage::none ? 1 : 0;
    hot += r.episode != 0 && !r.ends_episode ? 1 : 0;
  }
  CHECK(twice == doctest::Approx(all * 0.10).epsilon(0.1));
  CHECK(broken == doctest::Approx(all * 0.05).epsilon(0.15));
  CHECK(hot == doctest::Approx(all * 0.08).epsilon(0.15));
}

TEST_CASE("fleet: an episode is five readings above the threshold and one below --alert-clear, none of them broken") {
  auto o = some_devices();
  o.anomalies = 50;
  o.broken = 50;
  fleet f(o);
  std::map<std::uint32_t, std::vector<reading>> episodes;
  for (int n = 0; n < 5'000; ++n) {
    const auto r = *f.measure(static_cast<std::uint32_t>(n) % f.size(), n);
    if (r.episode != 0) episodes[r.episode].push_back(r);
    if (r.episode == 0) CHECK(r.centi < 7'500);
  }
  REQUIRE(episodes.size() > 100);
  for (const auto& [number, list] : episodes) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      CHECK(list[i].device == list[0].device);
      CHECK(list[i].broken == breakage::none);
      CHECK(list[i].ends_episode == (i == 5));
      CHECK((i < 5 ? list[i].centi > 8'000 : list[i].centi < 7'500));
    }
    CHECK(list.size() <= 6);
  }
}

TEST_CASE("fleet: the share of silent devices is exact, and they stay silent") {
  auto o = some_devices();
  o.silent = 30;
  o.silent_after_us = 60;
  fleet f(o);
  f.begin(40);
  CHECK(f.silent_devices() == 3);
  int before = 0, after = 0;
  for (std::uint32_t d = 0; d < f.size(); ++d) {
    before += f.measure(d, 99) ? 1 : 0;
    after += f.measure(d, 100) ? 1 : 0;
  }
  CHECK(before == 10);
  CHECK(after == 7);
}

TEST_CASE("ledger: lost, duplicated and altered rows are found by number") {
  ledger l;
  for (int n = 0; n < 10; ++n) send(l, plain());
  for (std::uint64_t seq : {0U, 1U, 2U, 3U, 4U, 5U, 6U}) l.note_stored(row(seq));
  l.note_stored(row(6));
  l.note_stored(row(6));
  l.note_stored(row(7, 1));         // another device
  l.note_stored(row(8, 0, 1'999));  // another temperature
  l.note_stored(row(77));           // not a message of this run
  const auto t = l.count({});
  CHECK(t.expected == 10);
  CHECK(t.stored == 11);
  CHECK(t.lost == 1);
  CHECK(t.lost_examples == std::vector<std::uint64_t>{9});
  CHECK(t.duplicated == 2);
  CHECK(t.duplicated_examples == std::vector<std::uint64_t>{6});
  CHECK(t.altered == 3);
}

TEST_CASE("ledger: a new count discards the previous one") {
  ledger l;
  send(l, plain());
  l.note_stored(row(0));
  l.note_stored(row(9));
  l.clear_stored();
  l.note_stored(row(0));
  const auto t = l.count({});
  CHECK(t.stored == 1);
  CHECK(t.altered == 0);
  CHECK(t.duplicated == 0);
}

TEST_CASE("ledger: a message that is sent twice must be stored twice, unless the table keeps one row of each") {
  ledger l;
  for (int n = 0; n < 3; ++n) {
    const auto seq = send(l, plain());
    l.note_sent(seq, 0);
    l.note_acknowledged(seq, 0);
  }
  for (std::uint64_t seq : {0U, 0U, 1U, 2U, 2U, 2U}) l.note_stored(row(seq));
  const auto twice = l.count({});
  CHECK(twice.messages == 3);
  CHECK(twice.sent == 6);
  CHECK(twice.lost == 1);
  CHECK(twice.duplicated == 1);
  const auto once = l.count({true, false});
  CHECK(once.expected == 3);
  CHECK(once.lost == 0);
  CHECK(once.duplicated == 3);
}

TEST_CASE("ledger: an unacknowledged message may be stored, and a resent one may be stored twice") {
  ledger l;
  for (int n = 0; n < 3; ++n) l.note_sent(l.make(plain()), 0);
  l.note_stored(row(0));
  l.note_resent(2);
  l.note_acknowledged(2, 0);
  l.note_stored(row(2));
  l.note_stored(row(2));
  const auto t = l.count({});
  CHECK(t.lost == 0);
  CHECK(t.duplicated == 0);
  CHECK(t.maybe_twice == 1);
  CHECK(t.acknowledged == 1);
}

TEST_CASE("ledger: a dead-lettered message is not lost; broken messages must be dead-lettered") {
  ledger l;
  auto broken = plain();
  broken.broken = breakage::no_json;
  for (int n = 0; n < 3; ++n) send(l, broken);
  send(l, plain());
  l.note_dead_letter(0);
  l.note_dead_letter(3);
  l.note_stored(row(1));
  const auto t = l.count({false, true});
  CHECK(t.broken == 3);
  CHECK(t.dead_lettered == 2);
  CHECK(t.broken_stored == 1);
  CHECK(t.broken_vanished == 1);
  CHECK(t.good_dead_lettered == 1);
  CHECK(t.lost == 0);
  CHECK(l.count({false, false}).broken_vanished == 0);
}

TEST_CASE("ledger: a reading that is held back and never sent is not counted") {
  ledger l;
  l.make(plain());
  CHECK(l.count({}).messages == 0);
  CHECK(l.count({}).lost == 0);
}

TEST_CASE("ledger: latency is counted once, from the scheduled time of the message") {
  ledger l;
  const auto seq = l.make(plain(0, 1'000));
  l.note_sent(seq, 5'000);
  l.note_sent(seq, 9'000);  // the copy
  l.note_acknowledged(seq, 5'100);
  l.note_seen(seq, 5'200);
  l.note_seen(seq, 99'000);
  const auto p = l.so_far();
  CHECK(p.to_broker.max == 100);
  CHECK(p.to_database.count == 1);
  CHECK(p.to_database.max == 200);
  CHECK(p.seen == 1);
}

TEST_CASE("ledger: the time of the oldest unseen message is returned") {
  ledger l;
  CHECK_FALSE(l.oldest_unseen_us());
  for (std::int64_t n = 0; n < 3; ++n) send(l, plain(0, n * 10));
  l.note_seen(1, 0);
  CHECK(l.oldest_unseen_us() == 0);
  l.note_seen(0, 0);
  CHECK(l.oldest_unseen_us() == 20);
  l.note_seen(2, 0);
  CHECK_FALSE(l.oldest_unseen_us());
}

namespace {

// Add an episode of device 0 from second 10 to second 12.
void episode(ledger& l, alert_ledger& book, bool acknowledged = true) {
  for (const int s : {10, 11, 12}) {
    auto r = plain(0, s * 1'000'000LL);
    r.episode = 1;
    r.ends_episode = s == 12;
    const auto seq = acknowledged ? send(l, r) : l.make(r);
    book.expect(r, seq);
  }
}

}  // namespace

TEST_CASE("alerts: each episode has one firing and one resolved; the latency counts from the reading that raised it") {
  ledger l;
  alert_ledger book("overheating", "abcdef-");
  episode(l, book);
  CHECK(book.count(l).missing == 1);
  book.arrived(alert("firing", 10, 10), 10'750'000);
  book.arrived(alert("resolved", 10, 12), 12'900'000);
  const auto t = book.count(l);
  CHECK(t.expected == 1);
  CHECK(t.seen == 1);
  CHECK(t.missing == 0);
  CHECK(t.resolved_seen == 1);
  CHECK(t.resolved_missing == 0);
  CHECK(t.to_alert.count == 1);
  CHECK(t.to_alert.max == 250'000);
}

TEST_CASE("alerts: a repeated alert is a duplicate; an alert without an episode is unexpected") {
  ledger l;
  alert_ledger book("overheating", "abcdef-");
  episode(l, book);
  book.arrived(alert("firing", 10, 10), 0);
  book.arrived(alert("firing", 10, 10), 0);
  book.arrived(alert("firing", 5, 5, "early"), 0);
  book.arrived(alert("firing", 20, 20, "late"), 0);
  book.arrived(alert("firing", 11, 11, "second"), 0);  // the episode has already fired
  const auto t = book.count(l);
  CHECK(t.seen == 1);
  CHECK(t.duplicated == 1);
  CHECK(t.unexpected == 3);
}

TEST_CASE("alerts: alerts of other rules, devices and runs are ignored, and messages that are not alerts") {
  ledger l;
  alert_ledger book("overheating", "abcdef-");
  episode(l, book);
  for (const auto& text :
       {alert("firing", 10, 10, "a", "freezing"), alert("firing", 10, 10, "b", "overheating", "ghijkl-1"),
        alert("firing", 10, 10, "c", "overheating", "abcdef-1x"), std::string("{}"), std::string("x"),
        std::string("[]"), std::string()})
    book.arrived(text, 0);
  const auto t = book.count(l);
  CHECK(t.seen == 0);
  CHECK(t.unexpected == 0);
}

TEST_CASE("alerts: no alert is expected for readings that the broker did not acknowledge") {
  ledger l;
  alert_ledger book("overheating", "abcdef-");
  episode(l, book, false);
  CHECK(book.count(l).expected == 0);
}

TEST_CASE("limit: is found between the highest sustained rate and the lowest that was not, and confirmed") {
  for (const double truth : {3.0, 90.0, 200.0, 777.0, 12'345.0}) {
    limit_search search(200);
    int steps = 0;
    for (; const auto step = search.next(); ++steps) search.note(step->rate <= truth);
    CHECK(search.found() <= truth);
    CHECK(search.found() * 1.11 >= truth);
    CHECK(steps < 20);
  }
}

TEST_CASE("limit: a rate that fails the longer trial is not the result; without a sustained rate the result is 0") {
  limit_search search(100);
  while (const auto step = search.next()) search.note(step->rate <= (step->confirms ? 300 : 500));
  CHECK(search.found() > 200);
  CHECK(search.found() <= 300);
  limit_search none(100);
  while (none.next()) none.note(false);
  CHECK(none.found() == 0);
}

TEST_CASE("limit: a rate with late messages, slow rows or losses does not count as sustained") {
  report r;
  r.verified = true;
  r.wanted_rate = 100;
  r.seconds = 10;
  r.messages.sent = r.messages.acknowledged = 1'000;
  CHECK(why_not_sustained(r, 1'000'000).empty());
  r.to_database.p99 = 2'000'000;
  CHECK(why_not_sustained(r, 1'000'000) == "p99 to the database above 1.00 s");
  r.seconds = 20;
  CHECK(why_not_sustained(r, 1'000'000) == "only 50/s could be sent");
  r.messages.lost = 3;
  CHECK(why_not_sustained(r, 1'000'000) == "3 lost");
}

TEST_CASE("report: passes without faults, and lists each fault") {
  report r;
  r.verified = true;
  r.seconds = 1;
  r.messages.messages = r.messages.sent = r.messages.acknowledged = 1'234;
  CHECK(faults(r).empty());
  CHECK(as_text(r).find("nothing lost, nothing duplicated") != std::string::npos);
  CHECK(as_json(r).find("\"passed\": true") != std::string::npos);
  r.messages.lost = 2;
  r.messages.lost_examples = {5, 6};
  r.alerts.missing = 1;
  r.messages.acknowledged = 1'200;
  CHECK(faults(r) == std::vector<std::string>{"34 not acknowledged by the broker", "2 lost", "1 alerts missing"});
  CHECK(as_text(r).find("(seq 5, 6)") != std::string::npos);
  CHECK(as_json(r).find("\"passed\": false") != std::string::npos);
  CHECK(faults(report{}) == std::vector<std::string>{"nothing was sent"});
}

TEST_CASE("report: numbers and times are formatted") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1'234'567) == "1,234,567");
  CHECK(time_text(850) == "850 us");
  CHECK(time_text(12'345) == "12.3 ms");
  CHECK(time_text(123'456) == "123 ms");
  CHECK(time_text(4'560'000) == "4.56 s");
}

TEST_CASE("dead letters: a location is a file or a Kafka topic; a missing file has no dead letters") {
  CHECK(check_location("dead-letters.ndjson").empty());
  CHECK(check_location("kafka://a:1,b:2/topic").empty());
  CHECK_FALSE(check_location("kafka://a:1").empty());
  CHECK_FALSE(check_location("kafka:///topic").empty());
  int found = 0;
  CHECK(read_dead_letters("/nowhere/dead-letters.ndjson", "abcdef", [&](std::uint64_t) { ++found; }).empty());
  CHECK(found == 0);
}
