// SPDX-License-Identifier: Apache-2.0
// Tests of the output of timers: it is stored until it is delivered, and emitted again only if it may have been lost.
#include "engine/testing/test_host.hpp"

#include <pipeline/plugin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// What the transform `alarm` saw in its last life, and how often it may emit.
struct alarm_log {
  std::atomic<int> budget{0};
  std::atomic<int> emitted{0}, repeated{0}, ticks{0};
  std::atomic<bool> delivered{false};
  std::atomic<std::uint64_t> first_tick_at{PL_UNKNOWN};  // records seen before the first tick after a restore
  void begin() {
    emitted = repeated = 0;
    delivered = false;
    first_tick_at = PL_UNKNOWN;
  }
};
alarm_log log_of_alarm;

// Emits one row in a timer, as long as there is budget, and again what may not have been delivered.
class alarm final : public pl::transform, public pl::stateful {
 public:
  struct options {
    std::string note;
    static pl::option_table<options> table() { return {pl::option(&options::note, "note", "Any text.")}; }
  };
  static pl::description describe() {
    return {.name = "alarm",
            .doc = "Emits rows in timers.",
            .example = "plugin: alarm",
            .abilities = PL_DETERMINISTIC | PL_ALERTS};
  }
  alarm(const options&, pl::context ctx) : ctx_(ctx), schema_(ctx.schema({"value"})) {}

  pl::result<void> apply(pl::batch_view in, pl::emitter&) override {
    for (const auto& r : in.ranges()) streams_.insert(std::string(pl::view(r.stream)));
    seen_ += in.selected();
    return {};
  }
  pl::result<void> tick(pl::timestamp, pl::emitter& out) override {
    ++log_of_alarm.ticks;
    auto never = PL_UNKNOWN;
    if (!streams_.empty()) log_of_alarm.first_tick_at.compare_exchange_strong(never, seen_);
    for (const auto& stream : streams_) {
      for (const auto& key : std::exchange(lost_[stream], {})) {
        ++log_of_alarm.repeated;
        emit(stream, key, out);
      }
      if (log_of_alarm.budget > 0) {
        --log_of_alarm.budget;
        ++log_of_alarm.emitted;
        emit(stream, "p" + std::to_string(number_++), out);
      }
    }
    return {};
  }
  void revoked(std::string_view stream) override {
    streams_.erase(std::string(stream));
    lost_.erase(std::string(stream));
    seen_ = 0;
  }
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view) override {
    if (key.starts_with("p")) lost_[std::string(stream)].emplace_back(key);
    return {};
  }
  void restored_delivered(std::string_view stream) override {
    log_of_alarm.delivered = true;
    lost_[std::string(stream)].clear();
  }
  pl::result<void> restored(std::string_view stream, bool) override {
    streams_.insert(std::string(stream));
    return {};
  }
  pl::result<void> snapshot(std::string_view stream) override {
    ctx_.put(stream, "any", "1");
    return {};
  }

 private:
  void emit(const std::string& stream, const std::string& key, pl::emitter& out) {
    auto b = ctx_.build(schema_, 1);
    b.make_column(0)[0] = pl::text_cell(b.copy(key));
    auto made = std::move(b).finish();
    ctx_.set_stream(made, stream);
    ctx_.put_until_delivered(stream, key, "row");
    out.emit(std::move(made));
  }
  pl::context ctx_;
  const pl_schema* schema_;
  std::set<std::string> streams_;
  std::map<std::string, std::vector<std::string>> lost_;
  std::uint64_t seen_ = 0;
  int number_ = 0;
};

const pl_plugin& alarm_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<alarm>("1.0.0");
  return plugin;
}

struct alarm_stage {
  explicit alarm_stage(const std::string& sinks, bool exactly_once = true) : w(new_world("w")) {
    h.add(alarm_plugin());
    std::filesystem::remove_all(folder);
    w->broker.partitions["t/0"].end = 500;
    yaml = "name: t\nhttp: {listen: off}\nstate_dir: '" + folder.string() + "'\n" +
           (exactly_once ? "delivery: exactly_once\n" : "") +
           "sources:\n  in: {plugin: exact_source, world: w}\n"
           "transforms:\n  alarm: {plugin: alarm, from: in}\n"
           "sinks:\n" +
           sinks + "dead_letters: {plugin: exact_dead, world: w, batch: {delay: 2ms}}\n";
  }
  ~alarm_stage() { std::filesystem::remove_all(folder); }
  void start(int budget = 0) {
    log_of_alarm.begin();
    log_of_alarm.budget = budget;
    p = h.build(yaml);
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
  }
  void stop() {
    p->stop();
    p->join();
    p.reset();
  }
  void kill() {
    p->stop();
    p->abandon();
    p->join();
    p.reset();
  }
  int timer_rows(const std::string& sink) { return w->database.times(sink, "t/0", PL_UNKNOWN); }
  void set_away(bool on) {
    std::scoped_lock lock(w->database.mutex);
    w->database.away = on ? [](std::uint64_t) { return true; } : std::function<bool(std::uint64_t)>();
  }
  [[nodiscard]] bool all_read() {
    std::scoped_lock lock(w->broker.mutex);
    const auto& part = w->broker.partitions["t/0"];
    return part.has_committed && part.committed == part.end;
  }

  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("timers-" + std::to_string(getpid()));
  std::shared_ptr<world> w;
  test_host h;
  std::string yaml;
  std::unique_ptr<pipeline> p;
};

const std::string quick = ", batch: {rows: 50, delay: 2ms}, retry: {initial: 1ms, max: 3ms}}\n";

}  // namespace

TEST_CASE("output of a timer that was in flight when the host was killed is emitted again, and only that") {
  alarm_stage s("  store: {plugin: exact_sink, from: [in, alarm], world: w" + quick, false);
  s.start(1);
  REQUIRE(eventually([&] { return s.timer_rows("store") == 1 && s.all_read(); }));
  s.stop();
  s.start();
  REQUIRE(eventually([&] { return log_of_alarm.first_tick_at != PL_UNKNOWN; }));
  s.set_away(true);
  log_of_alarm.budget = 1;
  REQUIRE(eventually([&] { return log_of_alarm.emitted == 1; }));
  const int ticks = log_of_alarm.ticks;
  REQUIRE(eventually([&] { return log_of_alarm.ticks > ticks + 3; }));  // so that the entry is in the local state
  CHECK(log_of_alarm.repeated == 0);
  s.kill();
  CHECK(s.timer_rows("store") == 1);
  s.set_away(false);
  s.start();
  CHECK(eventually([&] { return s.timer_rows("store") == 2; }));
  CHECK(log_of_alarm.repeated == 1);
  s.stop();
  s.start();
  REQUIRE(eventually([&] { return log_of_alarm.first_tick_at != PL_UNKNOWN; }));
  s.stop();
  CHECK(log_of_alarm.repeated == 0);
  CHECK(s.timer_rows("store") == 2);
}

TEST_CASE("a position store has what a timer emitted if it has the state: nothing is emitted again") {
  alarm_stage s("  store: {plugin: exact_sink, from: [in, alarm], world: w" + quick);
  s.start(1);
  REQUIRE(eventually([&] { return s.timer_rows("store") == 1; }));
  s.kill();
  s.start();
  REQUIRE(eventually([&] { return log_of_alarm.first_tick_at != PL_UNKNOWN; }));
  CHECK(log_of_alarm.delivered);
  CHECK(log_of_alarm.repeated == 0);
  s.stop();
  CHECK(s.timer_rows("store") == 1);
}

TEST_CASE("of several position stores, the one that receives the alerts keeps the state") {
  alarm_stage s("  rows: {plugin: exact_sink, from: in, world: w" + quick +
                "  store: {plugin: exact_sink, from: alarm, world: w" + quick);
  for (int round = 1; round <= 3; ++round) {
    s.start(1);
    REQUIRE(eventually([&] { return s.timer_rows("store") >= round; }));
    s.kill();
    CHECK(log_of_alarm.repeated == 0);
  }
  s.start();
  REQUIRE(eventually([&] { return s.all_read() && log_of_alarm.first_tick_at != PL_UNKNOWN; }));
  s.stop();
  CHECK(s.timer_rows("store") == 3);
  CHECK(s.w->database.distinct("rows") == 500);
  CHECK(s.w->database.most("rows") == 1);
}

TEST_CASE("beside another sink, output that only the position store has is emitted again") {
  alarm_stage s(
      "  store: {plugin: exact_sink, from: [in, alarm], world: w" + quick +
      "  hook: {plugin: exact_dead, from: alarm, world: w, delivery: at_least_once, batch: {rows: 50, delay: 1h}}\n");
  s.start(1);
  REQUIRE(eventually([&] { return s.timer_rows("store") == 1; }));
  s.kill();
  s.start();
  CHECK(eventually([&] { return log_of_alarm.repeated == 1; }));
  CHECK_FALSE(log_of_alarm.delivered);
  s.stop();
  s.start();
  REQUIRE(eventually([&] { return log_of_alarm.first_tick_at != PL_UNKNOWN; }));
  s.stop();
  CHECK(log_of_alarm.repeated == 0);
}

TEST_CASE("timers wait while records are read again that the sinks have: their output would be trimmed") {
  alarm_stage s("  store: {plugin: exact_sink, from: [in, alarm], world: w" + quick);
  for (int round = 1; round <= 5; ++round) {
    s.start(1);
    REQUIRE(eventually([&] { return s.timer_rows("store") == round; }));
    REQUIRE(eventually([&] { return s.all_read(); }));
    s.kill();  // the state may be older than the position, and records are read again
  }
  s.w->broker.partitions["t/0"].end = 600;
  s.start();
  REQUIRE(eventually([&] { return s.all_read(); }));
  s.stop();
  CHECK(s.timer_rows("store") == 5);
}
