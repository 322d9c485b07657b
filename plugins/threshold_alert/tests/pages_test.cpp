// SPDX-License-Identifier: Apache-2.0
// Tests of the pages in which the state of devices is stored.
#include "codec.hpp"
#include "harness.hpp"

#include <set>

using namespace threshold_alert::testing;
using threshold_alert::decode_page;

namespace {

constexpr int many = 1000;

std::string device(int i) { return "device-" + std::to_string(10'000 + i); }

config_fields hot(config_fields more = {}) {
  config_fields fields{
      {"rules", list({object({{"name", "hot"}, {"metric", "temperature"}, {"above", 80}, {"times", 2}})})}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::vector<row> readings(double at, double value, int first = 0, int end = many) {
  std::vector<row> rows;
  for (int i = first; i < end; ++i) rows.push_back({at, real(value), device(i)});
  return rows;
}

std::size_t count(const harness::state& s, char what) {
  return static_cast<std::size_t>(
      std::ranges::count_if(s, [what](const auto& e) { return e.first.second.front() == what; }));
}

std::string as_version_2(std::string value) {
  value.front() = 2;
  return value;
}

// Return the devices in the pages of the state, each as often as it is there.
std::multiset<std::string> paged(const harness::state& s) {
  std::multiset<std::string> all;
  for (const auto& [name, value] : s) {
    if (name.second.front() != 'g') continue;
    const auto keys = decode_page(value);
    REQUIRE(keys.ok());
    for (const auto& k : *keys) all.insert(k.key.substr(k.key.find("device-")));
  }
  return all;
}

// Return the state as version 2 stores it, which has no pages: an entry for each trace.
harness::state without_pages(const harness::state& s) {
  harness::state made;
  for (const auto& [name, value] : s) {
    if (name.second.front() != 'g') {
      made[name] = as_version_2(value);
      continue;
    }
    const auto keys = decode_page(value);
    REQUIRE(keys.ok());
    for (const auto& k : *keys) made[{name.first, "t" + k.key}] = as_version_2(k.trace);
  }
  return made;
}

}  // namespace

TEST_CASE("many devices have few entries, and a snapshot stores the pages that have changed") {
  harness h(hot());
  h.feed(readings(0, 85));
  h.snapshot();
  const auto first = h.host.state();
  CHECK(count(first, 'g') == (many + 63) / 64);
  CHECK(count(first, 't') == 0);
  CHECK(paged(first).size() == many);
  h.feed(readings(1, 20, 70, 75));
  h.snapshot();
  const auto second = h.host.state();
  std::size_t changed = 0;
  for (const auto& [name, value] : second) changed += name.second.front() == 'g' && first.at(name) != value ? 1 : 0;
  CHECK(changed == 1);
  // What was counted before the restart counts: the second reading fires, except for those that were below.
  harness after(hot());
  after.restore(second, "telemetry/0", h.next());
  after.feed(readings(2, 85));
  CHECK(after.host.last("alert_devices") == many);
  CHECK(after.take().size() == many - 5);
}

TEST_CASE("a removed device leaves its page, and an empty page is erased") {
  harness h(hot({{"forget_after", 60s}}));
  h.feed(readings(0, 20, 0, 100), "telemetry/0", 0);
  h.feed(readings(30, 20, 0, 10), "telemetry/0", 0);
  h.snapshot();
  CHECK(paged(h.host.state()).size() == 100);
  h.tick(70);
  h.snapshot();
  CHECK(paged(h.host.state()).size() == 10);
  CHECK(count(h.host.state(), 'g') == 1);
  harness after(hot({{"forget_after", 60s}}));
  after.restore(h.host.state(), "telemetry/0", h.next());
  after.feed(readings(71, 20, 500, 600), "telemetry/0", 0);
  after.snapshot();
  CHECK(paged(after.host.state()).size() == 110);
  CHECK(count(after.host.state(), 'g') == 2);  // free places are used
}

TEST_CASE("the state of a version without pages is read, and its entries are replaced") {
  harness before(hot());
  before.feed(readings(0, 85, 0, 200));
  const auto old = without_pages(before.stop());
  CHECK(count(old, 't') == 200);
  harness after(hot());
  after.restore(old, "telemetry/0", before.next());
  after.feed(readings(1, 85, 0, 1));
  CHECK(after.take() == lines{"firing warning 85 @1 " + device(0)});
  after.snapshot();
  CHECK(paged(after.host.state()).size() == 200);  // those that have not changed, too
  CHECK(count(after.host.state(), 't') == 0);
  harness again(hot());
  again.restore(after.host.state(), "telemetry/0", after.next());
  again.feed(readings(2, 85, 1, 200));
  CHECK(again.take().size() == 199);
}

TEST_CASE(
    "after an upgrade, each snapshot erases a limited number of entries, and the pages are newer than the others") {
  constexpr int devices = 320 * 64, replaced = 256 * 64;
  harness before(hot());
  before.feed(readings(0, 85, 0, devices));
  harness after(hot());
  after.restore(without_pages(before.stop()), "telemetry/0", before.next());
  after.feed(readings(1, 20, 0, devices));  // ends all runs
  after.snapshot();
  const auto first = after.host.state();
  CHECK(paged(first).size() == devices);
  CHECK(count(first, 't') == devices - replaced);
  harness again(hot());  // restarts before the other entries are erased
  again.restore(first, "telemetry/0", after.next());
  again.feed(readings(2, 85, 0, devices));
  CHECK(again.take().empty());
  again.snapshot();
  CHECK(paged(again.host.state()).size() == devices);
  CHECK(count(again.host.state(), 't') == 0);
  // Without a restart, too.
  after.snapshot();
  CHECK(paged(after.host.state()).size() == devices);
  CHECK(count(after.host.state(), 't') == 0);
}

TEST_CASE("a version without pages refuses state with pages") {
  harness h(hot());
  h.feed(readings(0, 85, 0, 3));
  // It reads the record of the stream first, and stops if the record has a higher version than its own, which was 2.
  CHECK(h.stop().at({"telemetry/0", "s"}).front() == 3);
}

TEST_CASE("pages that grow with the number of rules are divided") {
  harness before(hot());
  before.feed(readings(0, 85, 0, 64));
  CHECK(count(before.stop(), 'g') == 1);
  std::vector<pl::testing::config_value> rules;
  for (int i = 0; i < 300; ++i)
    rules.push_back(object({{"name", "jump" + std::to_string(i)},
                            {"metric", "temperature"},
                            {"rate_of_change", "second"},
                            {"above", 1e6 + i}}));
  harness after(rules);
  after.restore(before.host.state(), "telemetry/0", before.next());
  after.feed(readings(1, 20, 0, 64));
  const auto state = after.stop();
  CHECK(count(state, 'g') > 2);
  std::size_t all = 0;
  for (const auto& [name, value] : state) {
    CHECK(value.size() <= (128U << 10U));
    all += value.size();
  }
  CHECK(all > (256U << 10U));
  const auto devices = paged(state);
  CHECK(devices.size() == 64);
  CHECK(std::set<std::string>(devices.begin(), devices.end()).size() == 64);
  harness again(rules);
  again.restore(state, "telemetry/0", after.next());
  again.feed(readings(2, 20, 0, 64));
  CHECK(again.host.last("alert_devices") == 64);
  CHECK(paged(again.stop()).size() == 64);
}

TEST_CASE("pages with the same device, or with a number that is too large, are stored again") {
  harness before(hot());
  before.feed(readings(0, 85, 0, 100));
  auto state = before.stop();
  const std::string large("g\xFF\xFF\xFF\xFE", 5);
  const auto first = std::string("g\0\0\0\0", 5), second = std::string("g\0\0\0\1", 5);
  state[{"telemetry/0", large}] = state.at({"telemetry/0", second});
  state.erase({"telemetry/0", second});
  state[{"telemetry/0", std::string("g\0\0\0\5", 5)}] = state.at({"telemetry/0", first});
  harness after(hot());
  after.restore(state, "telemetry/0", before.next());
  after.snapshot();
  const auto now = after.host.state();
  const auto devices = paged(now);
  CHECK(devices.size() == 100);
  CHECK(std::set<std::string>(devices.begin(), devices.end()).size() == 100);
  CHECK_FALSE(now.contains({"telemetry/0", large}));
  harness again(hot());
  again.restore(now, "telemetry/0", before.next());
  again.feed(readings(1, 85, 0, 100));
  CHECK(again.take().size() == 100);
}

TEST_CASE("group_by changed: the pages of the old keys stay until their alerts are resolved") {
  harness before(hot());
  before.feed(readings(0, 85, 0, 100));
  before.feed(readings(1, 85, 0, 1));
  before.take();
  const auto state = before.stop();
  const auto options = hot({{"group_by", list({"device_id"})}});
  harness stopped(options);
  stopped.restore(state, "telemetry/0", before.next());
  stopped.feed(readings(2, 20, 0, 70));
  stopped.snapshot();  // before the first timer: the alert is not resolved yet
  CHECK(paged(stopped.host.state()).size() == 170);
  harness after(options);
  after.restore(stopped.host.state(), "telemetry/0", stopped.next());
  CHECK(after.host.last("alerts_open{rule=hot}") == 1);
  after.tick(3);
  CHECK(after.take().size() == 1);
  CHECK(paged(after.host.state()).size() == 70);  // at once
  after.host.deliver();
  harness again(options);
  again.restore(after.host.state(), "telemetry/0", after.next());
  again.tick(4);
  CHECK(again.take().empty());
  CHECK(again.host.logs().empty());
  again.feed(readings(5, 20, 0, 1));
  CHECK(again.host.last("alert_devices") == 70);
}

TEST_CASE("a damaged page is an error") {
  harness before(hot());
  before.feed(readings(0, 85, 0, 3));
  const auto state = before.stop();
  const auto page = state.at({"telemetry/0", std::string("g\0\0\0\0", 5)});
  for (std::size_t n = 0; n < page.size(); ++n) CHECK_FALSE(decode_page(page.substr(0, n)).ok());
  CHECK_FALSE(decode_page(page + "x").ok());
  CHECK_FALSE(decode_page("\x7F" + page.substr(1)).ok());
  // A text of 100 bytes that is repeated 10,000 times by reference.
  std::string expands =
      page.substr(0, 1) + "\x90\x4E" + std::string("\0\x64", 2) + std::string(100, 'k') + std::string("\0\0", 2);
  for (int i = 1; i < 10'000; ++i) expands += std::string("\x64\0\0\0", 4);
  CHECK(decode_page(expands).ok());  // within the bound
  std::string bomb = page.substr(0, 1) + "\x90\x4E" + std::string("\0\xA0\x8D\x06", 4) + std::string(100'000, 'k') +
                     std::string("\0\0", 2);
  for (int i = 1; i < 10'000; ++i) bomb += std::string("\xA0\x8D\x06\0\0\0", 6);
  CHECK_FALSE(decode_page(bomb).ok());
}
