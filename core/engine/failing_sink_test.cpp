// SPDX-License-Identifier: Apache-2.0
// Tests of sinks that do not work or are too slow, and that must not stop anything else: `on_failure` and `when_full`.
#include "engine/testing/queue_files.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// A pipeline with a sink `store` (stage s, which also keeps the dead letters) and a sink `hook` (stage w). A write of the hook
// is small: it counts as queued until it is done.
std::string yaml(const std::string& hook, const std::string& top = "") {
  return "name: t\nhttp: {listen: off}\n" + top +
         "sources:\n  in: {plugin: test_source, stage: s}\n"
         "sinks:\n"
         "  hook: {plugin: test_sink, from: in, stage: w, batch: {rows: 50, delay: 5ms, max_bytes: 128KiB}" +
         hook +
         "}\n"
         "  store: {plugin: test_sink, from: in, stage: s, batch: {rows: 50, delay: 5ms}}\n"
         "dead_letters: {plugin: test_dead, stage: s, batch: {rows: 50, delay: 5ms}}\n";
}

// The sink is given up after 20 ms, then probed every few milliseconds.
const std::string best_effort =
    ", on_failure: dead_letters, retry: {initial: 1ms, max: 20ms, give_up_after: 20ms}, queue: {max_bytes: 64KiB}";

// With a queue on disk in that directory.
std::string on_disk(const pl::testing::temp_dir& dir) { return "state_dir: '" + dir.path().string() + "'\n"; }

// Blocks the calls that pass through it, until it is opened.
class gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.wait(lock, [&] { return open_; });
    --waiting_;
  }
  void open() {
    std::scoped_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool blocks() {
    std::scoped_lock lock(mutex_);
    return waiting_ != 0;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

double value_of(test_host& h, const std::string& metric, const std::string& node) {
  const std::regex line("pipeline_" + metric + "\\{[^}]*node=\"" + node + "\"[^}]*\\} ([0-9.e+]+)");
  const auto text = h.metrics().render();
  std::smatch found;
  REQUIRE_MESSAGE(std::regex_search(text, found, line), metric);
  return std::stod(found[1]);
}

std::vector<std::string> nodes_of(const std::vector<telemetry::not_ready>& list) {
  std::vector<std::string> nodes;
  for (const auto& one : list) nodes.push_back(one.node);
  return nodes;
}
std::vector<telemetry::not_ready> waiting(const pipeline& p) {
  std::vector<telemetry::not_ready> list;
  p.waiting(list);
  return list;
}
std::vector<telemetry::not_ready> degraded(const pipeline& p) {
  std::vector<telemetry::not_ready> list;
  p.degraded(list);
  return list;
}

void await_end(pipeline& p) {
  REQUIRE(eventually([&] {
    p.supervise();
    return p.ended();
  }));
  p.join();
  CHECK(p.failure().empty());
}

// Check that the sink `store` has each record once, and that each record is settled. Return their number.
std::uint64_t check_store(pipeline& p, stage& s) {
  const auto all = p.progress().records_in;
  std::set<std::uint64_t> positions;
  for (const auto& r : s.rows_stored()) positions.insert(r.position);
  CHECK(s.rows_stored().size() == all);
  CHECK(positions.size() == all);
  CHECK(s.settled_of("s/0") == all);
  CHECK(p.progress().memory_bytes == 0);
  return all;
}

bool in_order(const std::vector<stage::stored_row>& rows) {
  return std::ranges::is_sorted(rows, {}, &stage::stored_row::position);
}

// Check that each of `all` records is either in the sink `hook` or in the dead letters, once.
void check_delivered_or_dead(stage& hook, stage& letters, std::uint64_t all) {
  std::set<std::uint64_t> positions;
  for (const auto& r : hook.rows_stored()) positions.insert(r.position);
  for (const auto& r : letters.dead_stored()) positions.insert(r.position);
  CHECK(hook.rows_stored().size() + letters.dead_stored().size() == all);
  CHECK(positions.size() == all);
}

}  // namespace

TEST_CASE("a sink that never works is given up once, and all of its rows go to the dead letters at once") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  w->on_write = [](std::uint64_t) { return result<void>(retry("connection refused")); };
  auto p = h.build(
      yaml(", on_failure: dead_letters, retry: {initial: 10s, multiplier: 100, max: 1h, give_up_after: 300ms}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  await_end(*p);
  CHECK(check_store(*p, *s) == 1000);
  check_delivered_or_dead(*w, *s, 1000);
  CHECK(w->rows_stored().empty());
  CHECK(w->writes <= 2);  // the first attempt, and the one after give_up_after; the next is due in 10 s
  CHECK(s->reasons.front() == "not delivered, because the sink did not work: connection refused");
  CHECK(value_of(h, "given_up_total", "hook") == 1000);
  CHECK(value_of(h, "rejected_total", "hook") == 1000);
  CHECK(value_of(h, "rejected_total", "store") == 0);
  CHECK(p->progress().rejected == 1000);
  CHECK(h.log().find("connection refused (gave up after 0.3 s: retry.give_up_after)") != std::string::npos);
}

TEST_CASE("a sink that was given up is probed, and receives its rows again once it works") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  s->endless = true;
  std::atomic<bool> works{false};
  w->on_write = [&](std::uint64_t) { return works ? result<void>() : result<void>(retry("connection refused")); };
  auto p = h.build(yaml(best_effort));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->dead_stored().size() > 500; }));
  CHECK(value_of(h, "circuit_open", "hook") == 1);
  CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
  CHECK(degraded(*p).front().reason == "gave up, rows go to the dead letters: connection refused");
  CHECK(eventually([&] { return waiting(*p).empty(); }));  // ready, although the sink does not work
  const auto probes = w->writes.load();
  CHECK(eventually([&] { return w->writes > probes + 2; }));

  works = true;
  REQUIRE(eventually([&] { return w->rows_stored().size() > 500; }));
  CHECK(eventually([&] { return degraded(*p).empty(); }));
  CHECK(value_of(h, "circuit_open", "hook") == 0);
  p->stop();
  await_end(*p);
  check_delivered_or_dead(*w, *s, check_store(*p, *s));
  CHECK(value_of(h, "given_up_total", "hook") == static_cast<double>(s->dead_stored().size()));
  CHECK(h.log().find("rows went to the dead letters meanwhile: 'pipeline-host dead-letters retry --sink hook' delivers "
                     "them") != std::string::npos);
}

TEST_CASE("while a sink that was given up hangs in a probe, its full queue stops nothing") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  s->endless = true;
  gate answer;
  std::atomic<bool> gave_up{false};
  w->on_write = [&](std::uint64_t) {
    if (gave_up) answer.pass();
    return result<void>(retry("no response"));
  };
  auto p = h.build(yaml(best_effort));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return value_of(h, "circuit_open", "hook") == 1; }));
  gave_up = true;
  REQUIRE(eventually([&] { return answer.blocks(); }));
  const auto stored = s->rows_stored().size(), dead = s->dead_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > stored + 20'000; }));
  CHECK(eventually([&] { return s->dead_stored().size() > dead + 10'000; }));  // for lack of room
  CHECK(answer.blocks());
  answer.open();
  p->stop();
  await_end(*p);
  check_delivered_or_dead(*w, *s, check_store(*p, *s));
}

TEST_CASE("a sink that cannot start is given up, too") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  std::atomic<bool> works{false};
  s->endless = true;
  w->on_sink_start = [&] { return works ? result<void>() : result<void>(retry("no route to host")); };
  auto p = h.build(yaml(best_effort));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->dead_stored().size() > 500; }));
  CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
  CHECK(w->writes == 0);
  works = true;
  REQUIRE(eventually([&] { return w->rows_stored().size() > 500; }));
  CHECK(eventually([&] { return degraded(*p).empty() && waiting(*p).empty(); }));
  p->stop();
  await_end(*p);
  check_delivered_or_dead(*w, *s, check_store(*p, *s));
}

TEST_CASE("the first row after a sink that could not start works again is delivered") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  std::atomic<bool> works{false}, reads{false};
  s->rows = 1;
  s->on_start = [&] { return reads ? result<void>() : result<void>(retry("later")); };
  w->on_sink_start = [&] { return works ? result<void>() : result<void>(retry("no route to host")); };
  auto p = h.build(yaml(best_effort));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] {
    const auto list = degraded(*p);
    return !list.empty() && list.front().reason.starts_with("gave up");
  }));
  works = true;
  std::this_thread::sleep_for(50ms);  // the next attempt is due after 20 ms, but nothing causes it
  reads = true;
  await_end(*p);
  CHECK(check_store(*p, *s) == 1);
  CHECK(w->rows_stored().size() == 1);
  CHECK(s->dead_stored().empty());
}

TEST_CASE("a write that fails permanently stops the pipeline only without on_failure: dead_letters") {
  for (const bool stops : {true, false}) {
    CAPTURE(stops);
    test_host h;
    auto s = new_stage("s"), w = new_stage("w");
    w->on_write = [](std::uint64_t) { return result<void>(fatal("no permission")); };
    auto p = h.build(yaml(stops ? std::string() : best_effort));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    if (stops) {
      REQUIRE(eventually([&] { return !p->failure().empty(); }));
      CHECK(p->failure() == "hook: no permission");
      continue;
    }
    await_end(*p);
    CHECK(check_store(*p, *s) == 1000);
    check_delivered_or_dead(*w, *s, 1000);
  }
}

TEST_CASE("rows of a sink that was given up wait for room in the queue of the dead letters") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  s->rows = 20'000;
  gate letters;
  s->on_dead = [&](std::uint64_t) { return letters.pass(), result<void>(); };
  w->on_write = [](std::uint64_t) { return result<void>(retry("connection refused")); };
  auto text = yaml(best_effort);
  text.insert(text.rfind('}'), ", queue: {max_bytes: 64KiB}");
  auto p = h.build(text);
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return letters.blocks(); }));
  // All wait: what is neither delivered nor a dead letter is bounded.
  CHECK(eventually([&] { return value_of(h, "queue_bytes", "dead_letters") >= 64 * 1024; }));
  CHECK(s->settled_of("s/0") < 20'000);
  letters.open();
  await_end(*p);
  CHECK(check_store(*p, *s) == 20'000);
  check_delivered_or_dead(*w, *s, 20'000);
}

TEST_CASE("a changed sink takes over from one that was given up") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  s->endless = true;
  std::atomic<bool> works{false};
  w->on_write = [&](std::uint64_t) { return works ? result<void>() : result<void>(retry("connection refused")); };
  auto p = h.build(yaml(best_effort));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->dead_stored().size() > 500; }));
  works = true;
  auto next = h.build(yaml(best_effort + ", note: changed"), p.get());
  REQUIRE_MESSAGE(next, h.problems);
  REQUIRE(eventually([&] { return p->quiesce(10ms, *next); }));
  next->replace(*p);
  p = std::move(next);
  REQUIRE(eventually([&] { return w->rows_stored().size() > 500; }));
  CHECK(value_of(h, "circuit_open", "hook") == 0);
  p->stop();
  await_end(*p);
  check_delivered_or_dead(*w, *s, check_store(*p, *s));
}

TEST_CASE("a sink with when_full drops rows, counts them, and stops nothing") {
  for (const std::string policy : {"drop_newest", "drop_oldest"}) {
    CAPTURE(policy);
    test_host h;
    auto s = new_stage("s"), w = new_stage("w");
    s->rows = 30'000;
    gate answer;
    w->on_write = [&](std::uint64_t) { return answer.pass(), result<void>(); };
    auto p = h.build(yaml(", when_full: " + policy + ", queue: {max_bytes: 64KiB}"));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    REQUIRE(eventually([&] { return answer.blocks(); }));
    REQUIRE(eventually([&] { return s->rows_stored().size() == s->rows; }));  // the hook is passed each row before
    CHECK(p->progress().dropped > 10'000);
    CHECK(waiting(*p).empty());
    CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
    answer.open();
    await_end(*p);
    const auto all = check_store(*p, *s);
    const auto rows = w->rows_stored();
    CHECK(rows.size() + p->progress().dropped == all);
    CHECK(value_of(h, "dropped_total", "hook") == static_cast<double>(all - rows.size()));
    CHECK(s->dead_stored().empty());
    REQUIRE(!rows.empty());
    for (std::size_t i = 1; i < rows.size(); ++i) CHECK(rows[i - 1].position < rows[i].position);
    if (policy == "drop_newest") CHECK(rows.front().position == 0);
    CHECK((rows.back().position == s->rows - 1) == (policy == "drop_oldest"));
    CHECK(h.log().find("the queue is full (64 KiB): its " + policy.substr(5) + " rows are dropped") !=
          std::string::npos);
    CHECK(h.log().find("the queue has room again") != std::string::npos);
    CHECK(degraded(*p).empty());
  }
}

TEST_CASE("a queue that drops rows holds less than half of the memory") {
  test_host h;
  auto s = new_stage("s"), w = new_stage("w");
  s->endless = true;
  gate answer;
  w->on_write = [&](std::uint64_t) { return answer.pass(), result<void>(); };
  auto p = h.build(yaml(", when_full: drop_oldest, queue: {max_bytes: 1GiB}", "memory_limit: 4MiB\n"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return p->progress().dropped > 10'000; }));
  CHECK(value_of(h, "queue_limit_bytes", "hook") == 512 * 1024);
  p->stop();
  answer.open();
  await_end(*p);
  CHECK(w->rows_stored().size() + p->progress().dropped == check_store(*p, *s));
}

TEST_CASE("rows that are on disk when their sink is given up become dead letters, in order") {
  test_host h;
  const pl::testing::temp_dir dir;
  auto s = new_stage("s"), w = new_stage("w");
  s->rows = 20'000;
  gate answer;
  w->on_write = [&](std::uint64_t) { return answer.pass(), result<void>(retry("no response")); };
  auto p =
      h.build(yaml(", on_failure: dead_letters, retry: {initial: 1ms, max: 20ms, give_up_after: 20ms}, queue: "
                   "{max_bytes: 16KiB, disk: 64MiB}",
                   on_disk(dir)));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->rows_stored().size() == s->rows; }));  // the hook is passed each row before
  CHECK(answer.blocks());
  CHECK(value_of(h, "queue_disk_batches", "hook") > 100);
  CHECK(s->settled_of("s/0") == 0);
  CHECK(s->dead_stored().empty());
  answer.open();
  await_end(*p);
  CHECK(check_store(*p, *s) == 20'000);
  check_delivered_or_dead(*w, *s, 20'000);
  const auto letters = s->dead_stored();
  REQUIRE(letters.size() == 20'000);
  CHECK(in_order(letters));
  CHECK(letters.back().text == s->rows_stored().back().text);
  CHECK(s->reasons.back() == "not delivered, because the sink did not work: no response");
  CHECK(value_of(h, "given_up_total", "hook") == 20'000);
  CHECK(value_of(h, "records_in_total", "hook") == 20'000);
  CHECK(value_of(h, "queue_disk_batches", "hook") == 0);
  CHECK(queue_files(dir.path()).empty());
}

TEST_CASE("while a sink that was given up hangs, its oldest rows on disk become dead letters once the disk is full") {
  test_host h;
  const pl::testing::temp_dir dir;
  auto s = new_stage("s"), w = new_stage("w");
  s->endless = true;
  gate answer;
  std::atomic<bool> gave_up{false};
  w->on_write = [&](std::uint64_t) {
    if (gave_up) answer.pass();
    return result<void>(retry("no response"));
  };
  auto p =
      h.build(yaml(", on_failure: dead_letters, retry: {initial: 1ms, max: 20ms, give_up_after: 20ms}, queue: "
                   "{max_bytes: 16KiB, disk: 1MiB}",
                   on_disk(dir)));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return value_of(h, "circuit_open", "hook") == 1; }));
  gave_up = true;
  REQUIRE(eventually([&] { return answer.blocks(); }));
  const auto stored = s->rows_stored().size(), dead = s->dead_stored().size();
  CHECK(eventually([&] { return s->rows_stored().size() > stored + 60'000; }));
  CHECK(eventually([&] { return s->dead_stored().size() > dead + 20'000; }));  // for lack of room
  CHECK(answer.blocks());
  CHECK(value_of(h, "queue_disk_batches", "hook") > 0);
  CHECK(value_of(h, "queue_disk_bytes", "hook") <= 1 << 20);
  answer.open();
  p->stop();
  await_end(*p);
  check_delivered_or_dead(*w, *s, check_store(*p, *s));
  CHECK(queue_files(dir.path()).empty());
}

TEST_CASE("a queue that drops rows has room again only when there is room on disk, too") {
  test_host h;
  const pl::testing::temp_dir dir;
  auto s = new_stage("s"), w = new_stage("w");
  s->rows = 60'000;
  gate first, rest;
  w->on_write = [&](std::uint64_t call) { return (call < 2 ? first : rest).pass(), result<void>(); };
  auto p = h.build(yaml(", when_full: drop_newest, queue: {max_bytes: 64KiB, disk: 1MiB}", on_disk(dir)));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->rows_stored().size() == s->rows; }));
  CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
  first.open();
  REQUIRE(eventually([&] { return rest.blocks(); }));  // half of the memory is free now, but the disk is full
  CHECK(value_of(h, "queue_disk_bytes", "hook") > 512 * 1024);
  CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
  CHECK(h.log().find("the queue has room again") == std::string::npos);
  rest.open();
  await_end(*p);
  CHECK(degraded(*p).empty());
  CHECK(h.log().find("the queue has room again") != std::string::npos);
}

TEST_CASE("a queue on disk drops rows only when the disk is full, too") {
  for (const std::string policy : {"drop_newest", "drop_oldest"}) {
    CAPTURE(policy);
    test_host h;
    const pl::testing::temp_dir dir;
    auto s = new_stage("s"), w = new_stage("w");
    s->rows = 60'000;
    gate answer;
    w->on_write = [&](std::uint64_t) { return answer.pass(), result<void>(); };
    auto p = h.build(yaml(", when_full: " + policy + ", queue: {max_bytes: 64KiB, disk: 1MiB}", on_disk(dir)));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    REQUIRE(eventually([&] { return s->rows_stored().size() == s->rows; }));
    CHECK(value_of(h, "queue_disk_batches", "hook") > 0);
    CHECK(value_of(h, "queue_bytes", "hook") < 512 * 1024);
    const auto dropped = p->progress().dropped;
    CHECK(dropped > 10'000);
    CHECK(value_of(h, "dropped_total", "hook") == static_cast<double>(dropped));
    CHECK(nodes_of(degraded(*p)) == std::vector<std::string>{"hook"});
    answer.open();
    await_end(*p);
    const auto all = check_store(*p, *s);
    const auto rows = w->rows_stored();
    CHECK(rows.size() + dropped == all);
    CHECK(value_of(h, "records_in_total", "hook") == static_cast<double>(all));
    CHECK(rows.size() > 5'000);  // more than the memory has room for
    CHECK(in_order(rows));
    CHECK(std::ranges::adjacent_find(rows, {}, &stage::stored_row::position) == rows.end());
    if (policy == "drop_newest") CHECK(rows.front().position == 0);
    CHECK((rows.back().position == s->rows - 1) == (policy == "drop_oldest"));
    CHECK(h.log().find("the queue is full (64 KiB, and 1.0 MiB on disk): its " + policy.substr(5) +
                       " rows are dropped (when_full: " + policy + ")") != std::string::npos);
    CHECK(h.log().find("the queue is full on disk, too (queue.disk: 1.0 MiB): its " + policy.substr(5) +
                       " rows are dropped until there is room") != std::string::npos);
    CHECK(s->dead_stored().empty());
    CHECK(queue_files(dir.path()).empty());
  }
}
