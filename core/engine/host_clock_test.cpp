// SPDX-License-Identifier: Apache-2.0
// Tests of pipelines with a simulated clock: a source moves it, and timers, arrival clocks and transforms
// follow it.
#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/testing/test_components.hpp"

#include <pipeline/clock.hpp>
#include <pipeline/testing/temp_dir.hpp>
#include <pipeline/time.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view stream = "a";
constexpr std::int64_t begin_ns = 1'772'366'400'000'000'000;  // 2026-03-01T12:00:00Z
constexpr int moves = 5;

// What the transform saw. The lane's thread writes it, and the test reads it after the pipeline has ended.
struct seen_times {
  std::vector<std::int64_t> ticks, clock, arrivals;
};
std::shared_ptr<seen_times> seen;

struct no_options {
  static pl::option_table<no_options> table() { return {}; }
};

// Moves the clock by a minute at each poll, and emits a record at the end.
class moving final : public pl::source {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "moving", .doc = "Moves the clock.", .example = "plugin: moving", .abilities = PL_RECORDS_UNREAD};
  }
  moving(options, pl::context ctx) : ctx_(ctx), clock_(ctx.raw()), live_(ctx.liveness()) {}
  pl::result<void> start() override {
    live_.connected();
    const auto next = ctx_.assigned(stream, 0);
    return next.ok() ? pl::result<void>{} : next.why();
  }
  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (request.max_rows == 0) return pl::nothing_yet();
    if (moved_ < moves) {
      ++moved_;
      live_.observed_end(stream, 0, clock_.now() + 1min);
      live_.observed_end(stream, 0, clock_.now() - 1h);  // time does not go back
      return pl::nothing_yet();
    }
    if (emitted_) return pl::end_of_stream();
    emitted_ = true;
    auto b = ctx_.build(ctx_.schema({"value"}), 1);
    b.make_column(0)[0] = pl::bytes_cell(b.copy("record"));
    auto arrival = b.allocate<std::int64_t>(1);
    arrival[0] = clock_.now_ns();
    b.set_arrivals(arrival);
    auto range = b.allocate<pl_range>(1);
    range[0] = pl::range_of(pl::borrow(b.copy(stream)), 0, 1);
    b.set_ranges(range);
    return std::move(b).finish();
  }

 private:
  pl::context ctx_;
  pl::wall_clock clock_;
  pl::liveness live_;
  int moved_ = 0;
  bool emitted_ = false;
};

// Rejects every row.
class watching final : public pl::transform {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "watching", .doc = "Watches the clock.", .example = "plugin: watching\nfrom: a\n"};
  }
  watching(options, pl::context ctx) : ctx_(ctx), clock_(ctx.raw()), arrivals_(ctx.arrival_clocks()) {}
  pl::result<void> apply(pl::batch_view in, pl::emitter&) override {
    for (const auto row : in.selection()) ctx_.reject(in, row, "rejected");
    return {};
  }
  pl::result<void> tick(pl::timestamp now, pl::emitter&) override {
    seen->ticks.push_back(now.time_since_epoch().count());
    seen->clock.push_back(clock_.now_ns());
    if (const auto reading = arrivals_.read(stream))
      seen->arrivals.push_back(reading->wall(reading->now).time_since_epoch().count());
    return {};
  }

 private:
  pl::context ctx_;
  pl::wall_clock clock_;
  pl::arrival_clocks arrivals_;
};

const pl_plugin& clock_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<moving, watching>("1.0.0");
  return plugin;
}

}  // namespace

TEST_CASE("a simulated clock: timers, arrival clocks and transforms follow it") {
  seen = std::make_shared<seen_times>();
  auto stage = new_stage("s");
  const pl::testing::temp_dir dir;
  telemetry::logger log{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics;
  schema_pool schemas;
  loader::registry plugins{{}};
  plugins.add_linked(test_plugin());
  plugins.add_linked(clock_plugin());
  const std::string yaml = "name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                           "'\nsources:\n  in: {plugin: moving}\ntransforms:\n  mid: {plugin: watching, from: in}\n"
                           "sinks:\n  out: {plugin: test_sink, from: mid, stage: s}\n"
                           "dead_letters: {plugin: test_dead, stage: s}\n";
  const std::vector<config::file_arg> files{{"test.yaml", yaml}};
  auto loaded = config::load(files, {}, config::process_environment());
  REQUIRE_MESSAGE(loaded.ok(), loaded.problems.render());
  const auto clock = std::make_shared<simulated_clock>(begin_ns);
  auto p = pipeline::build(loaded.pipelines.front(), {log, metrics, schemas, nullptr, clock}, plugins, loaded.problems);
  REQUIRE_MESSAGE(p, loaded.problems.render());
  p->start();
  while (!p->ended()) std::this_thread::sleep_for(1ms);
  p->join();

  constexpr std::int64_t minute = 60'000'000'000;
  std::vector<std::int64_t> expected;
  for (int i = 0; i <= moves; ++i) expected.push_back(begin_ns + i * minute);
  CHECK(seen->ticks == expected);  // once after each move, however fast the machine is
  CHECK(seen->clock == expected);
  // Nothing proves that records could arrive during a minute, so the reading stands still, and its wall time follows.
  CHECK(seen->arrivals == std::vector(expected.begin() + 1, expected.end()));
  CHECK(p->failure().empty());
  CHECK(stage->dead_stored().size() == 1);
  CHECK(p->outputs().size() == 2);
}
