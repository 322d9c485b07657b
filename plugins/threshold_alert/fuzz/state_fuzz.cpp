// SPDX-License-Identifier: Apache-2.0
// Fuzz target: stored state that is damaged in any way, under any change of the rules and of group_by. Restoring it
// either fails with a reason, or gives an instance that works. Undamaged state loses no open alert: each stays open or is
// resolved once.
//
// Input: the rules before and after (two bytes), whether the stream has an arrival clock (one byte), then damages of three
// bytes each (entry, place, value), then, after the byte 0xff, a further entry.
#include "../threshold_alert.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/instance.hpp>
#include <pipeline/text.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using pl::testing::config_fields;
using pl::testing::config_value;
using pl::testing::list;
using pl::testing::object;
using namespace std::chrono_literals;

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t epoch = 1'700'000'000 * second;
constexpr std::string_view stream = "t/0";
using stored_state = std::map<std::pair<std::string, std::string>, std::string>;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

const pl_component& component() {
  static const pl::detail::component_table<threshold_alert::threshold_alert> table;
  return *table.raw();
}

config_value hot(config_fields more) {
  config_fields all{{"name", "hot"}, {"metric", "temperature"}};
  all.insert(all.end(), more.begin(), more.end());
  return object(all);
}

config_value silent(std::chrono::seconds missing_for, config_fields more = {}) {
  config_fields all{{"name", "silent"}, {"missing_for", missing_for}};
  all.insert(all.end(), more.begin(), more.end());
  return object(all);
}

// The configurations that state may come from and be restored under.
const std::vector<config_fields>& configurations() {
  const auto two =
      list({object({{"severity", "warning"}, {"above", 70.0}}), object({{"severity", "critical"}, {"above", 90.0}})});
  const auto rate = object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"above", 5.0}});
  const auto flapping = object({{"fires", 2}, {"within", 60s}});
  static const std::vector<config_fields> all{
      {{"rules", list({hot({{"above", 80.0}, {"times", 2}}), silent(10s), rate})}},
      {{"rules", list({hot({{"severities", two}, {"flapping", flapping}}), silent(10s, {{"repeat_interval", 5s}})})}},
      {{"rules", list({hot({{"missing_for", 5s}}), silent(100s, {{"metric", "temperature"}})})}},
      {{"rules", list({hot({{"above", 99.0}, {"match", object({{"device_id", "a*"}})}})})}},
      {{"rules", list({silent(10s, {{"flapping", flapping}, {"severity", "critical"}}), hot({{"equals", 85.0}})})}},
      {{"rules", list({object({{"name", "jump"}, {"metric", "temperature"}, {"missing_for", 10s}}), silent(10s)})}},
      {{"group_by", list({"device_id"})},
       {"rules", list({hot({{"above", 80.0}}), silent(10s, {{"repeat_interval", 5s}})})}},
      {{"group_by", list({"device_id", "user_id"})}, {"max_age", 1h}, {"rules", list({hot({{"above", 80.0}})})}}};
  return all;
}

struct run {
  run(std::uint8_t configuration, bool has_clock)
      : by_arrival(has_clock), alerts(host, component(), configurations()[configuration % configurations().size()]) {
    must(alerts.create() == PL_OK && alerts.start() == PL_OK, "the configurations are valid");
  }
  const pl_ext_state& table() {
    return *static_cast<const pl_ext_state*>(component().extension(alerts.self(), pl::borrow(PL_EXT_STATE)));
  }
  void clock(std::int64_t at) {
    if (by_arrival) host.set_arrival(std::string(stream), epoch + at * second);
  }
  void feed(std::int64_t at, const std::vector<std::pair<std::string_view, double>>& readings) {
    std::vector<pl::cell> time, user, device, temperature;
    std::vector<std::int64_t> arrivals;
    for (const auto& [name, value] : readings) {
      time.push_back(pl::time_cell(epoch + at * second));
      arrivals.push_back(epoch + at * second);
      user.push_back(pl::text_cell("u"));
      device.push_back(pl::text_cell(name));
      temperature.push_back(pl::real_cell(value));
      ++at;
    }
    clock(at);
    if (!by_arrival) arrivals.clear();
    auto b = host.make_batch({{"time", time}, {"user_id", user}, {"device_id", device}, {"temperature", temperature}},
                             stream, next, arrivals);
    next += readings.size();
    must(alerts.apply(b.get()) == PL_OK, "records are evaluated");
  }
  void tick(std::int64_t at) {
    clock(at);
    must(alerts.tick(epoch + at * second) == PL_OK, "timers run");
  }
  [[nodiscard]] double open() {
    double n = 0;
    for (const auto* rule : {"hot", "silent", "jump", "unknown"})
      n += host.last("alerts_open{rule=" + std::string(rule) + "}");
    return n;
  }
  // Check the emitted rows; return how many have this state.
  std::size_t take(std::string_view state) {
    std::size_t n = 0;
    for (const auto& e : alerts.output()) {
      const auto b = e.data.get();
      for (const auto row : b.selection()) {
        n += pl::bytes_of(b.at(*b.find("state"), row)) == state ? 1U : 0U;
        for (pl::column_index c = 0; c < b.columns(); ++c) {
          const auto& cell = b.at(c, row);
          must(cell.kind != PL_TEXT || pl::is_utf8(pl::bytes_of(cell)), "texts are UTF-8");
          must(cell.kind != PL_F64 || std::isfinite(cell.as.f), "numbers are finite");
        }
      }
    }
    return n;
  }

  pl::testing::fake_host host;
  bool by_arrival;
  std::uint64_t next = 0;
  pl::testing::instance alerts;
};

stored_state state_of(std::uint8_t configuration, bool by_arrival, double& open) {
  run before(configuration, by_arrival);
  before.feed(0, {{"a1", 85}, {"b1", 85}, {"a1", 95}, {"b1", 20}, {"c", 85}});
  must(before.table().snapshot(before.alerts.self(), pl::borrow(stream)) == PL_OK, "a snapshot is stored");
  before.feed(5, {{"c", 85}, {"b1", 85}});
  before.tick(25);
  open = before.open();
  return before.host.state();
}

void damage(stored_state& state, std::string_view input) {
  while (input.size() >= 3 && input[0] != '\xff') {
    auto at = state.begin();
    std::advance(at, static_cast<unsigned char>(input[0]) % state.size());
    auto& value = at->second;
    const auto place = static_cast<unsigned char>(input[1]) % (value.size() + 1);
    if (place == value.size())
      value.push_back(input[2]);
    else if (input[2] == '\xfe')
      value.resize(place);
    else
      value[place] = input[2];
    input.remove_prefix(3);
  }
  if (input.size() < 2) return;
  const auto split = std::min<std::size_t>(static_cast<unsigned char>(input[1]), input.size() - 2);
  state[{std::string(stream), std::string(input.substr(2, split))}] = input.substr(2 + split);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const bool by_arrival = data[2] % 2 != 0;
  double open = 0;
  auto state = state_of(data[0], by_arrival, open);
  damage(state, input.substr(3));

  run after(data[1], by_arrival);
  after.next = 7;
  for (const auto& [id, value] : state)
    if (after.table().restore(after.alerts.self(), pl::borrow(stream), pl::borrow(id.second), pl::borrow(value)) !=
        PL_OK)
      return 0;
  if (after.table().restored(after.alerts.self(), pl::borrow(stream), PL_RESTORED_DELIVERED) != PL_OK) return 0;
  if (size == 3) must(after.open() <= open, "restoring opens no alert");
  const auto restored = after.open();
  after.tick(26);
  const auto resolved = static_cast<double>(after.take("resolved"));
  const auto fired = static_cast<double>(after.take("firing") + after.take("flapping"));
  // A repeated notice counts as fired, too.
  if (size == 3)
    must(restored - resolved <= after.open() && after.open() <= restored - resolved + fired, "no alert is lost");
  after.alerts.output().clear();
  after.feed(30, {{"a1", 85}, {"b1", 99}, {"c", 20}, {"a1", 20}, {"new", 85}});
  after.tick(60);
  must(after.table().snapshot(after.alerts.self(), pl::borrow(stream)) == PL_OK, "the state is stored again");
  (void)after.take("");
  after.alerts.revoked(stream);
  must(after.open() == 0, "a revoked stream has no open alerts");
  return 0;
}
