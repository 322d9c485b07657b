// SPDX-License-Identifier: Apache-2.0
// Lanes that claim their streams again, or lose some of them, while a sink that keeps no positions does not work: the
// other sinks need not wait for it.
#include "engine/testing/test_host.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// A database that works, and a hook that does not, whose queue is on disk.
class working_store {
 public:
  explicit working_store(std::uint64_t streams) : streams_(streams) {
    hook->on_write = [this](std::uint64_t) {
      if (slow) std::this_thread::sleep_for(200ms);
      return away ? result<void>(retry("no response")) : result<void>();
    };
  }
  [[nodiscard]] std::string yaml(const std::string& note = "") const {
    return "name: t\nhttp: {listen: off}\nshutdown_timeout: 1s\nstate_dir: '" + dir.path().string() +
           "'\nsources:\n  in: {plugin: exact_source, world: rejoin}\n"
           "transforms:\n  tenth: {plugin: every_tenth, from: in, world: rejoin, note: '" +
           note +
           "'}\nsinks:\n  store: {plugin: exact_sink, from: in, world: rejoin, delivery: exactly_once, batch: {delay: "
           "2ms}}\n  tenths: {plugin: exact_sink, from: tenth, world: rejoin, delivery: exactly_once, batch: {delay: "
           "2ms}}\n  hook: {plugin: test_sink, from: in, stage: hook, queue: {max_bytes: 4KiB, disk: 64MiB}, batch: "
           "{rows: 50, delay: 2ms, max_rows: 50}, retry: {initial: 20ms, max: 20ms}}\n"
           "dead_letters: {plugin: exact_dead, world: rejoin, batch: {delay: 2ms}}\n";
  }
  std::unique_ptr<pipeline> build(const std::string& yaml, const pipeline* previous = nullptr) {
    auto p = h.build(yaml, previous);
    REQUIRE_MESSAGE(p, h.problems);
    return p;
  }
  void extend(std::uint64_t stream, std::uint64_t to) {
    std::scoped_lock lock(w->broker.mutex);
    w->broker.partitions["t/" + std::to_string(stream)].end = to;
  }
  void extend_all(std::uint64_t to) {
    for (std::uint64_t s = 0; s < streams_; ++s) extend(s, to);
  }
  // Let another member of the group have the streams.
  void revoke(std::uint64_t first, std::uint64_t count) {
    std::scoped_lock lock(w->broker.mutex);
    for (auto s = first; s < first + count; ++s) w->broker.partitions["t/" + std::to_string(s)].owner = 999;
  }
  bool stored(std::uint64_t rows) {
    return eventually([&] { return w->database.distinct("store") == rows; });
  }
  static void kill(pipeline& p) {
    p.abandon();
    p.stop();
    p.join();
  }

  const pl::testing::temp_dir dir;
  std::shared_ptr<world> w = new_world("rejoin");
  std::shared_ptr<stage> hook = new_stage("hook");
  std::atomic<bool> away{true}, slow{false};
  test_host h;

 private:
  const std::uint64_t streams_;
};

}  // namespace

TEST_CASE(
    "a lane that was fenced does not wait for a sink that is down and holds records of a stream that was revoked") {
  working_store o(2);
  o.extend_all(500);
  auto p = o.build(o.yaml());
  p->start();
  REQUIRE(o.stored(1000));
  CHECK(eventually([&] { return o.hook->writes != 0; }));
  o.revoke(1, 1);
  CHECK(eventually([&] { return o.w->broker.members == 1 && p->progress().lag == 500; }));  // only that of t/0
  {
    std::scoped_lock lock(o.w->database.mutex);  // as if another host had claimed the stream
    ++o.w->database.positions[{"store", "in", "t/0"}].epoch;
  }
  o.extend(0, 1000);
  CHECK(o.stored(1500));  // the hook is still down
  CHECK(o.w->database.fenced > 0);
  CHECK(o.hook->rows_stored().empty());
  o.away = false;
  CHECK(eventually([&] { return p->progress().lag == 0; }));
  const auto rows = o.hook->rows_stored();
  CHECK(std::ranges::all_of(rows, [](const auto& row) { return row.stream == "t/0"; }));  // the others are not its own
  CHECK(rows.size() >= 1000);
  p->stop();
  p->join();
}

TEST_CASE("a reload with another transform reads again, and does not wait for a sink that is down") {
  working_store o(2);
  o.extend_all(500);
  auto p = o.build(o.yaml());
  p->start();
  REQUIRE(o.stored(1000));
  CHECK(eventually([&] { return o.hook->writes != 0; }));
  auto changed = o.build(o.yaml("changed"), p.get());
  REQUIRE(p->quiesce(1min, *changed));
  changed->replace(*p);
  p = std::move(changed);
  o.extend_all(1000);
  CHECK(o.stored(2000));  // the hook is still down
  CHECK(o.h.log().find("transforms changed while records were in flight; the source starts again") !=
        std::string::npos);
  CHECK(o.hook->rows_stored().empty());
  o.away = false;
  CHECK(eventually([&] { return p->progress().lag == 0; }));
  CHECK(o.w->database.most("store") == 1);
  for (std::uint64_t i = 0; i < 1000; ++i)
    if (o.w->database.times("tenths", "t/0", i) != (i % 10 == 9 ? 1 : 0)) FAIL_CHECK(i << " of the tenths");
  CHECK(o.hook->rows_stored().size() >= 2000);
  p->stop();
  p->join();
}

TEST_CASE("streams that are revoked together wait together for a backlog on disk") {
  constexpr std::uint64_t streams = 24, each = 200;
  working_store o(streams);
  o.extend_all(each);
  auto p = o.build(o.yaml());
  p->start();
  REQUIRE(o.stored(each * streams));
  o.slow = true;
  o.away = false;  // the outage is over, but the backlog takes at least 19 seconds
  CHECK(eventually([&] { return !o.hook->rows_stored().empty(); }));
  const auto began = std::chrono::steady_clock::now();
  o.revoke(0, streams);
  o.extend(streams, 10);  // a new one, which is read once the others are revoked
  CHECK(o.stored(each * streams + 10));
  CHECK(std::chrono::steady_clock::now() - began < 12s);  // a second for each would be 24
  o.slow = false;
  working_store::kill(*p);
}

TEST_CASE("a sink that does not work is ready again once the records that waited for it are read by another host") {
  working_store o(2);
  o.extend_all(500);
  std::atomic<bool> store_away{false};
  o.w->database.away = [&](std::uint64_t) { return store_away.load(); };
  auto p = o.build(o.yaml());
  p->start();
  REQUIRE(o.stored(1000));
  const auto hook_waits = [&] {
    std::vector<telemetry::not_ready> all;
    p->waiting(all);
    return std::ranges::any_of(all, [](const auto& of) { return of.node == "hook"; });
  };
  CHECK(eventually(hook_waits));
  store_away = true;
  o.extend(0, 600);
  CHECK(eventually([&] { return p->progress().records_in == 1100; }));
  o.revoke(0, 2);
  CHECK(eventually([&] { return p->progress().lag == 0; }));  // of streams that this host does not have
  CHECK(hook_waits());
  {
    std::scoped_lock lock(o.w->database.mutex);  // the other host claims them
    for (auto& [key, at] : o.w->database.positions) ++at.epoch;
  }
  store_away = false;
  CHECK(eventually([&] { return !hook_waits(); }));
  CHECK(o.hook->rows_stored().empty());
  CHECK(eventually([&] { return p->progress().memory_bytes == 0; }));
  p->stop();
  p->join();
}
