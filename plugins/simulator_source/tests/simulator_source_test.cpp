// SPDX-License-Identifier: Apache-2.0
#include "../fleet.hpp"

#include <pipeline/testing/conformance.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <set>

using namespace std::chrono_literals;
using pl::testing::config_fields;
using pl::testing::object;

namespace {

const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    std::string error;
    const auto* p =
        pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/simulator_source.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *loaded;
}
const pl_component& simulator_source() { return *pl::testing::find_component(plugin(), "simulator_source"); }

struct record {
  std::string value, key;
  std::int64_t time;
  bool operator==(const record&) const = default;
};
using records = std::map<std::uint64_t, record>;  // by position

// Read all records until the end of the stream, polling max_rows at a time.
records read_all(pl::testing::instance& source, std::uint32_t max_rows = 100) {
  records all;
  std::uint64_t next = PL_UNKNOWN;
  for (;;) {
    pl::batch b;
    const auto status = source.poll(b, max_rows);
    if (status == PL_END) return all;
    REQUIRE(status == PL_OK);
    const auto& range = b.get().ranges()[0];
    if (next != PL_UNKNOWN) CHECK(range.first == next);
    next = range.next;
    for (const auto row : b.get().selection())
      all[b.get().position(row)] = {std::string(pl::bytes_of(b.get().at(0, row))),
                                    std::string(pl::bytes_of(b.get().at(1, row))), b.get().at(3, row).as.i};
  }
}

records run(config_fields options, std::uint32_t max_rows = 100, std::uint32_t lane = 0, std::uint32_t lanes = 1) {
  pl::testing::fake_host host;
  host.raw().lane = lane;
  host.raw().lanes = lanes;
  options.emplace_back("rate", 0.0);
  options.emplace_back("start", "2026-06-01T00:00:00Z");
  pl::testing::instance source(host, simulator_source(), options);
  REQUIRE_MESSAGE(source.create() == PL_OK, host.error_text());
  REQUIRE(source.start() == PL_OK);
  auto all = read_all(source, max_rows);
  CHECK(source.stop() == PL_OK);
  return all;
}

config_fields with_faults(config_fields faults, std::int64_t count = 20'000) {
  return {{"count", count}, {"users", 5}, {"devices_per_user", 4}, {"faults", object(std::move(faults))}};
}

double temperature_of(const std::string& value) {
  const auto at = value.find("\"temperature\":");
  return at == std::string::npos ? -1000 : std::strtod(value.c_str() + at + 14, nullptr);
}

std::string error_of(const config_fields& options, std::uint32_t lanes = 1) {
  pl::testing::fake_host host;
  host.raw().lanes = lanes;
  pl::testing::instance source(host, simulator_source(), options);
  CHECK(source.create() == PL_FATAL);
  return host.error_text();
}

}  // namespace

TEST_CASE("the first records have the expected bytes") {
  // These records must not change: a change of the model changes all replays.
  const auto all = run({{"count", 3}, {"users", 2}, {"devices_per_user", 1}});
  REQUIRE(all.size() == 3);
  CHECK(
      all.at(0).value ==
      R"({"user_id":"user-1","device_id":"device-1","timestamp":"2026-06-01T00:00:00.000Z","temperature":17.78,"humidity":53.5,"pressure":1011.5,"battery":87.6})");
  CHECK(
      all.at(1).value ==
      R"({"user_id":"user-2","device_id":"device-2","timestamp":"2026-06-01T00:00:00.001Z","temperature":11.81,"humidity":57.4,"pressure":1002.6,"battery":60.5})");
  CHECK(
      all.at(2).value ==
      R"({"user_id":"user-1","device_id":"device-1","timestamp":"2026-06-01T00:00:00.002Z","temperature":17.73,"humidity":53.6,"pressure":1011.5,"battery":87.6})");
  CHECK(all.at(1).key == "users/user-2/devices/device-2");
  CHECK(all.at(1).time == 1780272000'001'000'000);
}

TEST_CASE("the same seed results in the same records for any max_rows, and another seed in others") {
  const config_fields options =
      with_faults({{"anomalies", 5.0}, {"broken", 1.0}, {"duplicates", 1.0}, {"late", 1.0}, {"silent", 2.0}}, 5'000);
  const auto once = run(options, 7);
  CHECK(once == run(options, 1000));
  auto other = options;
  other.emplace_back("seed", 2);
  CHECK(once != run(other, 1000));
}

TEST_CASE("reading begins at the assigned position") {
  pl::testing::fake_host host;
  host.resume_at("sim/0", 40);
  pl::testing::instance source(host, simulator_source(), {{"count", 50}, {"rate", 0.0}});
  REQUIRE(source.create() == PL_OK);
  REQUIRE(source.start() == PL_OK);
  const auto all = read_all(source);
  CHECK(all.size() == 10);
  CHECK(all.begin()->first == 40);
}

TEST_CASE("temperatures are in a realistic range and change smoothly") {
  const auto all =
      run({{"count", 240'000}, {"users", 5}, {"devices_per_user", 2}, {"step", std::chrono::nanoseconds(1s)}});
  std::map<std::string, double> last;
  double low = 1000, high = -1000, greatest_step = 0;
  for (const auto& [n, r] : all) {
    const auto t = temperature_of(r.value);
    low = std::min(low, t);
    high = std::max(high, t);
    if (const auto it = last.find(r.key); it != last.end())
      greatest_step = std::max(greatest_step, std::abs(t - it->second));
    last[r.key] = t;
  }
  CHECK(last.size() == 10);
  CHECK(low > 5);
  CHECK(high < 40);
  CHECK(high - low > 10);  // day and night
  CHECK(greatest_step < 1);
}

TEST_CASE("anomalies cross a threshold of 60 °C for most of their episode, and only then") {
  const auto calm = run(with_faults({}));
  for (const auto& [n, r] : calm) REQUIRE(temperature_of(r.value) < 60);
  const auto all = run(with_faults({{"anomalies", 10.0}, {"episode", 40}}));
  std::size_t hot = 0;
  for (const auto& [n, r] : all) hot += temperature_of(r.value) > 60;
  CHECK(hot > all.size() / 20);
  CHECK(hot < all.size() / 8);
}

TEST_CASE("silence is a gap in the positions, and the ranges cover it") {
  const auto all = run(with_faults({{"silent", 20.0}}));
  CHECK(all.size() > 14'000);
  CHECK(all.size() < 18'000);
  CHECK(run(with_faults({{"silent", 100.0}})).empty());
}

TEST_CASE("the configured percentage of the records is broken, in each of the ways") {
  const auto all = run(with_faults({{"broken", 10.0}}));
  std::size_t broken = 0, empty = 0, cut = 0;
  const auto good = run(with_faults({}));
  std::set<std::string> signs;
  for (const auto& [n, r] : all) {
    if (r.value == good.at(n).value) continue;
    ++broken;
    if (r.value.empty())
      ++empty;
    else if (r.value.starts_with("ERR"))
      signs.insert("not_json");
    else if (r.value.find("\xC3-") != std::string::npos)
      signs.insert("utf8");
    else if (r.value.find("NaN") != std::string::npos)
      signs.insert("nan");
    else if (r.value.find("n/a") != std::string::npos)
      signs.insert("text");
    else if (r.value.find("yesterday") != std::string::npos)
      signs.insert("time");
    else if (r.value.back() != '}')
      ++cut;
    else if (r.value.find("device_id") == std::string::npos)
      signs.insert("no_device");
  }
  CHECK(broken > 1'800);
  CHECK(broken < 2'200);
  CHECK(empty > 150);
  CHECK(cut > 150);
  CHECK(signs.size() == 6);
}

TEST_CASE("a duplicate repeats the device's previous record, broken or not") {
  const auto all = run(with_faults({{"duplicates", 5.0}, {"broken", 5.0}, {"silent", 5.0}}));
  std::map<std::string, std::string> last;
  std::size_t same = 0;
  for (const auto& [n, r] : all) {
    same += last[r.key] == r.value && !r.value.empty();
    last[r.key] = r.value;
  }
  CHECK(same > all.size() * 4 / 100);
  CHECK(same < all.size() * 6 / 100);
}

TEST_CASE("late records have an older time, and arrive in order") {
  const auto all = run(with_faults({{"late", 5.0}, {"late_by", std::chrono::nanoseconds(1h)}}));
  const auto punctual = run(with_faults({}));
  std::size_t late = 0;
  std::int64_t before = 0;
  for (const auto& [n, r] : all) {
    late += r.value != punctual.at(n).value;
    CHECK(r.time > before);
    before = r.time;
  }
  CHECK(late > 800);
  CHECK(late < 1'200);
}

TEST_CASE("lanes share the devices and the count, without overlap") {
  const config_fields options = {{"count", 1'001}, {"users", 5}, {"devices_per_user", 3}};
  std::set<std::string> devices;
  std::size_t records = 0, keys = 0;
  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    const auto all = run(options, 100, lane, 4);
    std::set<std::string> mine;
    for (const auto& [n, r] : all) mine.insert(r.key);
    keys += mine.size();
    devices.merge(mine);
    records += all.size();
  }
  CHECK(records == 1'001);
  CHECK(devices.size() == 15);
  CHECK(keys == 15);
}

TEST_CASE("the rate is kept, and a poll waits at most for the time-out") {
  pl::testing::fake_host host;
  pl::testing::instance source(host, simulator_source(), {{"rate", 2'000.0}});
  REQUIRE(source.create() == PL_OK);
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(source.start() == PL_OK);
  std::size_t rows = 0;
  while (rows < 400) {
    pl::batch b;
    if (source.poll(b) == PL_OK) {
      rows += b.get().rows();
      CHECK(b.get().ranges()[0].end >= b.get().ranges()[0].next);
    }
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= 199ms - 1ms);

  pl::testing::instance slow(host, simulator_source(), {{"rate", 0.01}});
  REQUIRE(slow.create() == PL_OK);
  REQUIRE(slow.start() == PL_OK);
  pl::batch b;
  CHECK(slow.poll(b) == PL_OK);  // the first record is due at once
  const auto waits = std::chrono::steady_clock::now();
  CHECK(slow.poll(b, 10, 1 << 20, 50ms) == PL_AGAIN);
  CHECK(std::chrono::steady_clock::now() - waits >= 50ms);
}

TEST_CASE("time formats") {
  const auto first = [](const char* format) {
    const auto value = run({{"count", 1}, {"time_format", format}}).at(0).value;
    const auto at = value.find("\"timestamp\":") + 12;
    return value.substr(at, value.find(',', at) - at);
  };
  CHECK(first("iso") == "\"2026-06-01T00:00:00.000Z\"");
  CHECK(first("s") == "1780272000");
  CHECK(first("ms") == "1780272000000");
  CHECK(first("us") == "1780272000000000");
  CHECK(first("ns") == "1780272000000000000");
}

TEST_CASE("times stop at the last representable record instead of overflowing") {
  simulator::fleet_options o;
  o.start_ns = INT64_MAX - 10;
  o.step_ns = 4;
  simulator::fleet fleet(o);
  CHECK(fleet.arrival(2) == INT64_MAX - 2);
  CHECK(fleet.arrival(UINT64_MAX) == INT64_MAX - 2);
  std::string text;
  fleet.append_value(text, 1'000'000'000'000);
  CHECK(text.find("2262-04-11T23:47:16.854Z") != std::string::npos);
}

TEST_CASE("invalid options are reported") {
  CHECK(error_of({{"start", "yesterday"}}) ==
        "start: 'yesterday' is not a valid time; write now, or UTC like \"2026-01-01T00:00:00Z\"");
  CHECK(error_of({{"start", "2026-02-30T00:00:00Z"}}).find("start: ") == 0);
  CHECK(error_of({{"users", 2}, {"devices_per_user", 1}}, 3).find("users: there are 3 lanes, but only 2 devices") == 0);
  CHECK(error_of({{"users", 1'000'000}, {"devices_per_user", 1'000'000}}).find("devices_per_user: ") == 0);
}

TEST_CASE("conformance") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  for (const auto& p : pl::testing::check_life(simulator_source(), {{"count", 20}, {"rate", 0.0}})) FAIL_CHECK(p);
  for (const auto& p : pl::testing::check_life(simulator_source(), {{"rate", 100.0}})) FAIL_CHECK(p);
}
