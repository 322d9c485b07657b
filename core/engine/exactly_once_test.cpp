// SPDX-License-Identifier: Apache-2.0
// Tests of the delivery protocol, with a broker and a database in memory. They cover zombies, lost replies, offset
// resets and state.
#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/testing/exact_components.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

// One process. Several processes may use one world.
class host {
 public:
  host() { plugins_.add_linked(exact_plugin()); }
  std::unique_ptr<pipeline> build(const std::string& yaml) {
    const std::vector<config::file_arg> files{{"test.yaml", yaml}};
    auto loaded = config::load(files, {}, config::process_environment());
    auto built = loaded.pipelines.empty()
                     ? nullptr
                     : pipeline::build(loaded.pipelines.front(), {log_, metrics_, schemas_}, plugins_, loaded.problems);
    problems = loaded.problems.render();
    return built;
  }
  std::string problems;

 private:
  telemetry::logger log_{{.level = telemetry::log_level::error}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  loader::registry plugins_{{}};
};

std::string yaml(const std::string& sinks, const std::string& top = "") {
  return "name: t\nhttp: {listen: off}\ndelivery: exactly_once\n" + top +
         "sources:\n  in: {plugin: exact_source, world: w}\n"
         "transforms:\n  tenth: {plugin: every_tenth, from: in, world: w}\n"
         "sinks:\n" +
         sinks + "dead_letters: {plugin: exact_dead, world: w, batch: {delay: 2ms}}\n";
}

const std::string quick = ", batch: {rows: 50, delay: 2ms}, retry: {initial: 1ms, max: 3ms}}\n";
const std::string store = "  store: {plugin: exact_sink, from: in, world: w" + quick;
const std::string tenths = "  tenths: {plugin: exact_sink, from: tenth, world: w" + quick;

bool eventually(const std::function<bool()>& true_soon, std::chrono::milliseconds patience = 2min) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!true_soon()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

void fill(world& w, std::uint64_t streams, std::uint64_t each) {
  std::scoped_lock lock(w.broker.mutex);
  for (std::uint64_t s = 0; s < streams; ++s) w.broker.partitions["t/" + std::to_string(s)].end = each;
}

bool all_settled(world& w) {
  std::scoped_lock lock(w.broker.mutex);
  for (const auto& [name, p] : w.broker.partitions)
    if (!p.has_committed || !p.marked || p.committed != p.end) return false;
  return true;
}

// Check that `store` has every record once, and `tenths` every tenth record of a stream once.
void check_exact(world& w, std::uint64_t streams, std::uint64_t each) {
  CHECK(w.database.distinct("store") == streams * each);
  CHECK(w.database.most("store") == 1);
  for (std::uint64_t s = 0; s < streams; ++s)
    for (std::uint64_t i = 0; i < each; ++i) {
      const auto stream = "t/" + std::to_string(s);
      if (w.database.times("tenths", stream, i) != (i % 10 == 9 ? 1 : 0))
        FAIL_CHECK(stream << " " << i << " is " << w.database.times("tenths", stream, i) << " times in tenths");
    }
}

void end(std::unique_ptr<pipeline>& p) {
  p->stop();
  p->join();
  CHECK(p->failure().empty());
  p.reset();
}

}  // namespace

TEST_CASE("each record is in each sink once, with its position") {
  auto w = new_world("w");
  fill(*w, 3, 1000);
  host h;
  auto p = h.build(yaml(store + tenths, "lanes: 2\n"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  check_exact(*w, 3, 1000);
  for (const auto& [key, at] : w->database.positions) {
    CHECK(at.next == 1000);
    CHECK(at.epoch == 1);
  }
}

TEST_CASE("the reply to COMMIT is lost repeatedly") {
  auto w = new_world("w");
  fill(*w, 2, 1000);
  w->database.lose_reply = [](std::uint64_t n) { return n % 3 == 0; };
  w->database.away = [](std::uint64_t n) { return n % 7 == 3; };
  host h;
  auto p = h.build(yaml(store + tenths));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  check_exact(*w, 2, 1000);
  CHECK(w->database.fenced == 0);
}

TEST_CASE("a second host takes over: the first one's late writes are refused") {
  auto w = new_world("w");
  fill(*w, 2, 3000);
  std::atomic<bool> slow{true};
  w->database.lose_reply = [&](std::uint64_t) {
    if (slow) std::this_thread::sleep_for(2ms);
    return false;
  };
  host a, b;
  auto first = a.build(yaml(store + tenths)), second = b.build(yaml(store + tenths));
  first->start();
  CHECK(eventually([&] { return w->database.distinct("store") > 500; }));
  second->start();
  CHECK(eventually([&] { return w->database.distinct("store") > 2000; }));
  slow = false;
  CHECK(eventually([&] { return all_settled(*w); }));
  end(first);
  end(second);
  check_exact(*w, 2, 3000);
}

TEST_CASE("hosts that start and are killed at random moments") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto w = new_world("w");
  fill(*w, 3, 4000);
  w->database.lose_reply = [&, n = std::uint64_t{0}](std::uint64_t) mutable { return ++n % 11 == 0; };
  host h;
  std::vector<std::unique_ptr<pipeline>> zombies;
  for (int round = 0; round < 40 && !all_settled(*w); ++round) {
    auto p = h.build(yaml(store + tenths, round % 2 == 0 ? "lanes: 2\n" : ""));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 30));
    // Killed: some hosts end at once, others continue for a while as zombies.
    if (random() % 2 == 0) {
      p->stop();
      p->abandon();
      p->join();
    } else {
      zombies.push_back(std::move(p));
      if (zombies.size() > 3) zombies.erase(zombies.begin());
    }
  }
  zombies.clear();
  auto last = h.build(yaml(store + tenths));
  last->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(last);
  check_exact(*w, 3, 4000);
}

TEST_CASE("an offset reset is applied once, in all sinks") {
  auto w = new_world("w");
  fill(*w, 1, 1000);
  host h;
  auto p = h.build(yaml(store + "  other: {plugin: exact_sink, from: in, world: w" + quick));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  w->broker.reset("t/0", 900);
  p = h.build(yaml(store + "  other: {plugin: exact_sink, from: in, world: w" + quick));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  p = h.build(yaml(store + "  other: {plugin: exact_sink, from: in, world: w" + quick));
  p->start();
  CHECK(eventually([&] {
    std::scoped_lock lock(w->database.mutex);
    return w->database.positions.begin()->second.epoch == 3;
  }));
  end(p);
  for (const auto* sink : {"store", "other"}) {
    CHECK(w->database.times(sink, "t/0", 899) == 1);
    CHECK(w->database.times(sink, "t/0", 900) == 2);
    CHECK(w->database.times(sink, "t/0", 999) == 2);
  }
}

TEST_CASE("after an offset reset transforms see each record once, whenever the host is killed") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto w = new_world("w");
  fill(*w, 1, 4000);
  host h;
  auto p = h.build(yaml(store + tenths));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  w->broker.reset("t/0", 2000);
  for (int round = 0; round < 30 && !all_settled(*w); ++round) {
    p = h.build(yaml(store + tenths));
    p->start();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
    p->stop();
    p->abandon();
    p->join();
    p.reset();
  }
  p = h.build(yaml(store + tenths));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  for (std::uint64_t i = 0; i < 4000; ++i) {
    CHECK(w->database.times("store", "t/0", i) == (i < 2000 ? 1 : 2));
    if (w->database.times("tenths", "t/0", i) != (i % 10 != 9 ? 0 : i < 2000 ? 1 : 2))
      FAIL_CHECK(i << " is " << w->database.times("tenths", "t/0", i) << " times in tenths");
  }
}

TEST_CASE("rows that the database rejects are dead letters before the rest is committed") {
  auto w = new_world("w");
  fill(*w, 2, 500);
  w->database.refuse = [](std::string_view text) { return text.ends_with("77"); };
  host h;
  auto p = h.build(yaml(store));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("store") == 990);
  CHECK(w->database.most("store") == 1);
  CHECK(w->dead_letters[""].size() == 110);  // the transform rejected a hundred of them
  for (const auto& [place, n] : w->dead_letters[""]) CHECK(n == 1);
}

TEST_CASE("a refused claim is retried until it succeeds, even if there are no records") {
  auto w = new_world("w");
  fill(*w, 1, 0);
  w->database.silent = true;
  host h;
  auto p = h.build(yaml(store));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  const auto waits = [&] {
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    return waiting.empty() ? std::string() : waiting.front().reason;
  };
  CHECK(
      eventually([&] { return waits().find("cannot be claimed: the database does not reply") != std::string::npos; }));
  {
    std::scoped_lock lock(w->database.mutex);
    w->database.silent = false;
  }
  CHECK(eventually([&] { return waits().empty(); }));
  end(p);
}

TEST_CASE("a new sink gets its own positions, and the other sinks store no record again") {
  auto w = new_world("w");
  fill(*w, 1, 500);
  host h;
  auto p = h.build(yaml(store));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  fill(*w, 1, 1000);
  p = h.build(yaml(store + tenths));
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("store") == 1000);
  CHECK(w->database.most("store") == 1);
  CHECK(w->database.distinct("tenths") == 50);
}

TEST_CASE("without a position store, state is kept on disk, and no record is left out") {
  auto w = new_world("w");
  fill(*w, 2, 4000);
  const auto state = std::filesystem::temp_directory_path() / ("state." + std::to_string(std::random_device{}()));
  const auto config = yaml(store + tenths, "state_dir: '" + state.string() + "'\n");
  const auto relaxed = [&] {
    auto text = config;
    return text.replace(text.find("exactly_once"), 12, "at_least_once");
  }();
  host h;
  std::mt19937 random(7);
  for (int round = 0; round < 20 && !all_settled(*w); ++round) {
    auto p = h.build(relaxed);
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
    p->stop();
    p->abandon();
    p->join();
  }
  auto last = h.build(relaxed);
  last->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(last);
  CHECK(w->database.distinct("store") == 8000);
  CHECK(w->database.distinct("tenths") == 800);
  for (std::uint64_t i = 9; i < 4000; i += 10) CHECK(w->database.times("tenths", "t/1", i) >= 1);
  std::filesystem::remove_all(state);
}

TEST_CASE("records are delivered where the state directory is not writable") {
  auto w = new_world("w");
  fill(*w, 1, 500);
  auto text = yaml(store + tenths, "state_dir: /proc/nothing\n");
  text.replace(text.find("exactly_once"), 12, "at_least_once");
  host h;
  auto p = h.build(text);
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return all_settled(*w); }));
  end(p);
  CHECK(w->database.distinct("tenths") == 50);
}

TEST_CASE("a pipeline that cannot deliver exactly once is rejected, and the node is named") {
  auto w = new_world("w");
  host h;
  CHECK(h.build(yaml("  a: {plugin: exact_dead, from: in, world: w}\n")) == nullptr);
  CHECK(h.problems.find("'a' cannot deliver exactly once: exact_dead keeps no positions in its transactions") !=
        std::string::npos);
  CHECK(h.build(yaml("  a: {plugin: exact_dead, from: in, world: w, delivery: at_least_once}\n")) == nullptr);
  CHECK(h.problems.find("every sink is at_least_once") != std::string::npos);
  CHECK(h.build(yaml(store + "  a: {plugin: exact_dead, from: in, world: w, delivery: at_least_once}\n")) != nullptr);
}
