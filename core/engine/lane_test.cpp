// SPDX-License-Identifier: Apache-2.0
// Tests of lanes that must not hold each other up, nor the main thread, and of what the host reports about calls.
#include "engine/testing/test_host.hpp"

#include <doctest/doctest.h>

#include <future>
#include <latch>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

std::string sink_of(const std::string& name, const std::string& from, const std::string& of,
                    const std::string& more = "") {
  return "  " + name + ": {plugin: test_sink, from: " + from + ", stage: " + of +
         ", batch: {rows: 50, delay: 5ms}, queue: {max_bytes: 16KiB}, retry: {initial: 1ms, max: 5ms}" + more + "}\n";
}

std::string one_source(const std::string& note = "") {
  return "name: t\nhttp: {listen: off}\nsources:\n  in: {plugin: test_source, stage: s}\nsinks:\n" +
         sink_of("out", "in", "s", note) + "dead_letters: {plugin: test_dead, stage: s}\n";
}

void end(pipeline& p) {
  p.stop();
  p.abandon();
  p.join();
}

}  // namespace

TEST_CASE("a source whose sink is down does not pause another source of the pipeline") {
  test_host h;
  auto down = new_stage("down"), works = new_stage("works"), s = new_stage("s");
  down->endless = true;
  down->on_write = [](auto) { return pl::retry("the sink is away"); };
  works->rows = 100'000;
  auto p = h.build(
      "name: t\nhttp: {listen: off}\nsources:\n  a: {plugin: test_source, stage: down}\n"
      "  b: {plugin: test_source, stage: works}\ntransforms:\n"
      "  mid: {plugin: test_transform, from: b, stage: works}\nsinks:\n" +
      sink_of("of_a", "a", "down") + sink_of("of_b", "mid", "works") + "dead_letters: {plugin: test_dead, stage: s}\n");
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return down->keep_alives > 2; }));  // the first source waits for its sink
  CHECK(eventually([&] { return works->settled_of("s/0") == 100'000; }));
  CHECK(works->rows_stored().size() == 100'000);
  end(*p);
}

TEST_CASE("a source that takes long in a poll while the pipeline pauses delays neither the pause nor a stop") {
  test_host h;
  auto s = new_stage("s");
  s->endless = true;
  s->on_write = [](auto) { return pl::retry("the sink is away"); };
  std::latch polls(1), go_on(1);
  std::atomic<bool> first{true}, quiescing{false};
  s->on_keep_alive = [&] {
    if (!quiescing || !first.exchange(false)) return;
    polls.count_down();
    go_on.wait();  // like a rebalance, which waits for records in flight
  };
  auto p = h.build(one_source());
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->keep_alives > 2; }));
  auto changed = h.build(one_source(", note: changed"), p.get());
  REQUIRE_MESSAGE(changed, h.problems);
  quiescing = true;
  (void)p->quiesce(1ms, *changed);
  polls.wait();
  // The lane is in the poll. Each of these calls returned after the poll when the lane held its lock.
  auto calls = std::async(std::launch::async, [&] {
    (void)p->quiesce(1ms, *changed);
    (void)p->why_not_quiescent(*changed);
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    p->resume();
    p->stop();
  });
  CHECK(calls.wait_for(30s) == std::future_status::ready);
  go_on.count_down();
  calls.wait();
  end(*p);
}

TEST_CASE("a call that does not return is overdue, with its node, plugin and function, until it returns") {
  test_host h;
  auto s = new_stage("s");
  std::latch go_on(1);
  s->on_write = [&](auto) -> pl::result<void> {
    go_on.wait();
    return {};
  };
  auto p = h.build("slow_call: 1s\n" + one_source());
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return !h.calls().overdue().empty(); }));
  const auto overdue = h.calls().overdue();
  REQUIRE(overdue.size() == 1);
  CHECK(overdue.front().pipeline == "t");
  CHECK(overdue.front().node == "out");
  CHECK(overdue.front().plugin == "test_sink");
  CHECK(overdue.front().function == "write");
  CHECK(overdue.front().length >= 1s);
  CHECK(to_string(overdue.front()).starts_with("the call of write in plugin test_sink has not returned for "));
  go_on.count_down();
  CHECK(eventually([&] { return h.calls().overdue().empty(); }));
  CHECK(eventually([&] { return p->ended(); }));
  p->join();
  CHECK(p->failure().empty());
}
