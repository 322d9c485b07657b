// SPDX-License-Identifier: Apache-2.0
// The state of transforms counts against the memory limit ("memory/1"), and leaves room for records. A snapshot that
// takes long does not delay the stop of a host.
#include "engine/memory.hpp"
#include "engine/testing/exact_components.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace pl::engine::test {
namespace {

std::atomic<std::uint64_t> bytes{0};
std::atomic<int> allowed{0}, refused{0};

// Passes all rows on, and reports state of `bytes`.
class hoarding final : public pl::transform {
 public:
  struct options {
    static pl::option_table<options> table() { return {}; }
  };
  static pl::description describe() {
    return {.name = "hoarding", .doc = "Reports state.", .example = "plugin: hoarding\nfrom: in\n"};
  }
  hoarding(options, pl::context ctx) : ctx_(ctx) {}
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    ++(ctx_.holds_memory(bytes) ? allowed : refused);
    out.pass(in);
    return {};
  }

 private:
  pl::context ctx_;
};

const pl_plugin& hoarding_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<hoarding>("1.0.0");
  return plugin;
}

std::unique_ptr<pipeline> run(test_host& h, std::uint64_t state) {
  bytes = state;
  allowed = refused = 0;
  h.add(hoarding_plugin());
  new_stage("s")->rows = 10'000;
  auto p = h.build(
      "name: t\nhttp: {listen: off}\nmemory_limit: 64MiB\nsources: {in: {plugin: test_source, stage: s}}\n"
      "transforms: {a: {plugin: hoarding, from: in}, b: {plugin: hoarding, from: a}}\n"
      "sinks: {out: {plugin: test_sink, from: b, stage: s, batch: {delay: 1ms}}}\n"
      "dead_letters: {plugin: test_dead, stage: s}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return p->ended(); }));
  p->join();
  CHECK(stage_named("s")->rows_stored().size() == 10'000);
  return p;
}

TEST_CASE("state counts as used memory until its instance is destroyed") {
  test_host h;
  auto p = run(h, 5U << 20U);
  CHECK(refused == 0);
  CHECK(p->progress().memory_bytes == 10U << 20U);
}

TEST_CASE("state above its limit is refused, and records still have memory") {
  test_host h;
  auto p = run(h, 1ULL << 30U);
  CHECK(allowed == 0);
  CHECK(refused > 0);
  CHECK(p->progress().memory_bytes == 24U << 20U);  // three quarters of the half for records
}

TEST_CASE("the limit of the state applies to its sum, and records have a quarter of the budget") {
  memory_budget budget(1000);
  budget.change_state(0, 600);
  CHECK(budget.used() == 600);
  CHECK(budget.state() <= budget.state_limit());
  budget.change_state(0, 600);
  CHECK(budget.state() > budget.state_limit());
  CHECK(budget.used() == 750);
  CHECK_FALSE(budget.full());
  budget.add(250);
  CHECK(budget.full());
  budget.change_state(600, 0);
  CHECK(budget.used() == 850);
  budget.change_state(600, 100);
  CHECK(budget.used() == 350);
}

// Passes all rows on. Each snapshot has `entries` entries of `entry_size` bytes.
std::atomic<int> entries{0}, snapshots{0};
std::atomic<std::size_t> entry_size{1};
std::mutex taken_mutex;
std::vector<std::pair<std::string, std::chrono::steady_clock::time_point>> taken;  // of which streams, and when
std::atomic<std::uint64_t> passed{0}, included{0};                                 // records

class listing final : public pl::transform, public pl::stateful {
 public:
  struct options {
    static pl::option_table<options> table() { return {}; }
  };
  static pl::description describe() {
    return {.name = "listing", .doc = "Stores entries.", .example = "plugin: listing\n", .abilities = PL_DETERMINISTIC};
  }
  listing(options, pl::context ctx) : ctx_(ctx) {}
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    passed += in.selection().size();
    out.pass(in);
    return {};
  }
  void revoked(std::string_view) override {}
  pl::result<void> restore(std::string_view, std::string_view, std::string_view) override { return {}; }
  pl::result<void> snapshot(std::string_view stream) override {
    for (int i = 0; i < entries; ++i) ctx_.put(stream, std::to_string(i), std::string(entry_size, 'v'));
    const std::scoped_lock lock(taken_mutex);
    taken.emplace_back(stream, std::chrono::steady_clock::now());
    included = passed.load();
    ++snapshots;
    return {};
  }

 private:
  pl::context ctx_;
};

const pl_plugin& listing_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<listing>("1.0.0");
  return plugin;
}

std::unique_ptr<pipeline> snapshots_pipeline(test_host& h, const pl::testing::temp_dir& dir) {
  h.add(listing_plugin());
  auto p = h.build("name: t\nhttp: {listen: off}\nstate_dir: '" + dir.path().string() +
                   "'\nsources:\n  in: {plugin: exact_source, world: snapshots}\n"
                   "transforms:\n  keep: {plugin: listing, from: in}\n"
                   "sinks:\n  store: {plugin: exact_sink, from: keep, world: snapshots, batch: {delay: 2ms}}\n"
                   "dead_letters: {plugin: exact_dead, world: snapshots, batch: {delay: 2ms}}\n");
  REQUIRE_MESSAGE(p, h.problems);
  return p;
}

// Read records after the first snapshot, and return how many snapshots are taken at the stop.
int snapshots_at_stop(int size) {
  entries = size;
  snapshots = 0;
  passed = included = 0;
  const pl::testing::temp_dir dir;
  auto w = new_world("snapshots");
  const auto extend_to = [&](std::uint64_t end) {
    const std::scoped_lock lock(w->broker.mutex);
    w->broker.partitions["t/0"].end = end;
  };
  test_host h;
  auto p = snapshots_pipeline(h, dir);
  p->start();
  extend_to(100);
  CHECK(eventually([&] { return passed == 100 && snapshots > 0; }));
  extend_to(200);
  CHECK(eventually([&] { return passed == 200 && w->database.distinct("store") == 200; }));
  const int before = snapshots;
  p->stop();
  p->join();
  return snapshots - before;
}

TEST_CASE("a snapshot of very many small entries is not taken again at the stop, a small one is") {
  CHECK(snapshots_at_stop(120'000) == 0);
  (void)snapshots_at_stop(10);
  CHECK(included == 200);
}

TEST_CASE("large snapshots of several streams are taken one at a time, and of each stream") {
  using namespace std::chrono_literals;
  entries = 5;
  entry_size = std::size_t{1} << 20U;
  {
    const std::scoped_lock lock(taken_mutex);
    taken.clear();
  }
  const pl::testing::temp_dir dir;
  auto w = new_world("snapshots");
  {
    const std::scoped_lock lock(w->broker.mutex);
    for (const auto* stream : {"t/0", "t/1"}) w->broker.partitions[stream].end = 100;
  }
  test_host h;
  auto p = snapshots_pipeline(h, dir);
  p->start();
  CHECK(eventually([&] {
    const std::scoped_lock lock(taken_mutex);
    return taken.size() == 2;
  }));
  p->stop();
  p->join();
  entry_size = 1;
  const std::scoped_lock lock(taken_mutex);
  REQUIRE(taken.size() >= 2);
  CHECK(taken[0].first != taken[1].first);
  CHECK(taken[1].second - taken[0].second > 1s);
}

}  // namespace
}  // namespace pl::engine::test
