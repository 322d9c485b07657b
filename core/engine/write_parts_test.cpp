// SPDX-License-Identifier: Apache-2.0
// Writes that are smaller than the batches of a source: positions move inside a source batch, and nothing is lost or
// stored twice, whenever a host is killed.
#include "engine/testing/test_host.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace pl::engine;
using namespace pl::engine::test;
using namespace std::chrono_literals;

namespace {

std::string yaml(const std::string& batch, const std::string& top = "") {
  const auto sink = ", world: w, batch: " + batch + ", retry: {initial: 1ms, max: 3ms}}\n";
  return "name: t\nhttp: {listen: off}\ndelivery: exactly_once\n" + top +
         "sources:\n  in: {plugin: exact_source, world: w}\n"
         "transforms:\n  tenth: {plugin: every_tenth, from: in, world: w}\n"
         "sinks:\n  store: {plugin: exact_sink, from: in" +
         sink + "  tenths: {plugin: exact_sink, from: tenth" + sink +
         "dead_letters: {plugin: exact_dead, world: w, batch: {delay: 2ms}}\n";
}

const std::string small = "{rows: 5, delay: 2ms, max_rows: 7}";  // a source batch has up to 37 records

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

void run_to_the_end(test_host& h, world& w, const std::string& config) {
  auto p = h.build(config);
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  CHECK(eventually([&] { return all_settled(w); }));
  p->stop();
  p->join();
  CHECK(p->failure().empty());
}

}  // namespace

TEST_CASE("no write has more rows than max_rows, and each record is stored once") {
  auto w = new_world("w");
  fill(*w, 3, 1000);
  w->database.lose_reply = [](std::uint64_t n) { return n % 5 == 0; };
  w->database.refuse = [](std::string_view text) { return text.ends_with(":776"); };
  test_host h;
  run_to_the_end(h, *w, yaml(small, "lanes: 2\n"));
  CHECK(w->database.distinct("store") == 2997);
  CHECK(w->database.most("store") == 1);
  CHECK(w->database.largest["store"] == 7);
  CHECK(w->database.largest["tenths"] <= 7);
  CHECK(w->database.fenced == 0);
  for (const auto& [key, at] : w->database.positions) CHECK(at.next == 1000);
}

TEST_CASE("hosts are killed between the parts of a source batch") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto w = new_world("w");
  fill(*w, 3, 2000);
  w->database.lose_reply = [n = std::uint64_t{0}](std::uint64_t) mutable { return ++n % 11 == 0; };
  test_host h;
  std::vector<std::unique_ptr<pipeline>> zombies;
  std::uint64_t inside = 0;  // positions that are not the end of a source batch
  for (int round = 0; round < 40 && !all_settled(*w); ++round) {
    auto p = h.build(yaml(small, round % 2 == 0 ? "lanes: 2\n" : ""));
    REQUIRE_MESSAGE(p, h.problems);
    p->start();
    const auto wanted = w->database.distinct("store") + random() % 200;
    CHECK(eventually([&] { return w->database.distinct("store") >= wanted || all_settled(*w); }));
    p->abandon();  // at once: the next part is not written
    if (random() % 2 == 0) {
      p->stop();
      p->join();
      std::scoped_lock lock(w->database.mutex);
      for (const auto& [key, at] : w->database.positions) inside += at.next % 37 != 0 ? 1 : 0;
    } else {
      zombies.push_back(std::move(p));
      if (zombies.size() > 3) zombies.erase(zombies.begin());
    }
  }
  zombies.clear();
  run_to_the_end(h, *w, yaml(small));
  check_exact(*w, 3, 2000);
  CHECK(inside != 0);
}

TEST_CASE("a write that needs more than the server has is repeated in parts, and later writes grow again") {
  auto w = new_world("w");
  fill(*w, 2, 6000);
  std::uint64_t failures = 0;
  w->database.exhausted = [&](std::uint64_t rows) {
    const bool too_large = rows > 5 && w->database.writes < 400;
    failures += too_large ? 1 : 0;
    return too_large;
  };
  test_host h;
  run_to_the_end(h, *w, yaml("{rows: 100, max_rows: 200, delay: 2ms}"));
  check_exact(*w, 2, 6000);
  CHECK(w->database.fenced == 0);
  CHECK(failures > 2);
  CHECK(failures < 150);
  CHECK(w->database.largest["store"] > 20);
  CHECK(h.log().find("the database has no memory left; writing ") != std::string::npos);
  CHECK(h.log().find("writes are no longer divided") != std::string::npos);
}

TEST_CASE("if a single record needs more than the server has, its write is retried as it is") {
  auto w = new_world("w");
  fill(*w, 1, 100);
  w->database.exhausted = [&](std::uint64_t rows) { return rows != 0 && w->database.writes < 60; };
  test_host h;
  run_to_the_end(h, *w, yaml("{rows: 100, delay: 2ms}"));
  check_exact(*w, 1, 100);
}
