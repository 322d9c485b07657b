// SPDX-License-Identifier: Apache-2.0
// Floods of records that a transform rejects: what the dead letters have of them, and what happens if they cannot be
// written.
#include "engine/collapsed_letter.hpp"
#include "engine/reason_limit.hpp"
#include "engine/testing/test_host.hpp"

#include <doctest/doctest.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace pl::engine::test {
namespace {

using counts = std::map<std::uint64_t, int>;  // by position

// Count positions as collapsed dead letters and the log write them: 3,5-7.
void count_positions(std::string_view text, counts& to) {
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    std::uint64_t first = 0, last = 0;
    const auto* end = item.data() + item.size();
    const auto dash = std::from_chars(item.data(), end, first);
    REQUIRE(dash.ec == std::errc{});
    last = first;
    if (dash.ptr != end) REQUIRE(std::from_chars(dash.ptr + 1, end, last).ec == std::errc{});
    for (auto p = first; p <= last; ++p) ++to[p];
  }
}

// Return how often the dead letters have each position, and check the numbers of records.
counts positions_of(stage& s, std::uint64_t& originals) {
  counts all;
  const std::scoped_lock lock(s.mutex);
  for (std::size_t i = 0; i < s.dead.size(); ++i) {
    const auto collapsed = parse_collapsed(s.records[i]);
    if (!collapsed) {
      ++originals;
      ++all[s.dead[i].position];
      CHECK(s.dead[i].text == s.dead[i].stream + ":" + std::to_string(s.dead[i].position));
      continue;
    }
    CHECK(s.dead[i].text.empty());
    counts some;
    count_positions(collapsed->positions, some);
    CHECK(some.size() == collapsed->records);
    CHECK(some.begin()->first == s.dead[i].position);
    for (const auto& [position, n] : some) all[position] += n;
  }
  return all;
}

std::string yaml(const std::string& dead_letters) {
  return "name: t\nhttp: {listen: off}\nmemory_limit: 64MiB\nsources: {in: {plugin: test_source, stage: s}}\n"
         "transforms: {mid: {plugin: test_transform, from: in, stage: s}}\n"
         "sinks: {out: {plugin: test_sink, from: mid, stage: s, batch: {delay: 1ms}}}\n"
         "dead_letters: {plugin: test_dead, stage: s, batch: {delay: 1ms}, retry: {initial: 1ms, max: 5ms}, " +
         dead_letters + "}\n";
}

void run_to_end(pipeline& p) {
  REQUIRE(eventually([&] {
    p.supervise();
    return p.ended();
  }));
  p.join();
}

bool is_odd(std::string_view text) { return (text.back() - '0') % 2 == 1; }

TEST_CASE("beyond the limit for their reason, rejected records become one dead letter for each batch") {
  test_host h;
  auto s = new_stage("s");
  s->rows = 5000;
  s->reject_in_apply = [](std::string_view) { return true; };
  auto p = h.build(yaml("collapse: {originals: 10, per: 1h}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  run_to_end(*p);
  std::uint64_t originals = 0;
  const auto all = positions_of(*s, originals);
  CHECK(originals == 10);
  CHECK(all.size() == 5000);
  for (const auto& [position, n] : all) CHECK_MESSAGE(n == 1, position);
  CHECK(s->dead.size() == 10 + 50);  // the source's batches have 100 records
  CHECK(s->settled_of("s/0") == 5000);
  for (const auto& reason : s->reasons) CHECK(reason == "the test rejects it");
  const auto metrics = h.metrics().render();
  CHECK(metrics.find("pipeline_rejected_total{node=\"mid\",pipeline=\"t\"} 5000") != std::string::npos);
  CHECK(metrics.find("pipeline_collapsed_total{node=\"mid\",pipeline=\"t\"} 4990") != std::string::npos);
  CHECK(h.log().find("more than 10 records in 3600 s were rejected for one reason") != std::string::npos);
}

TEST_CASE("good records between collapsed ones are stored, and each rejected one is counted once") {
  test_host h;
  auto s = new_stage("s");
  s->rows = 1000;
  s->streams = 2;
  s->reject_in_apply = is_odd;
  auto p = h.build(yaml("collapse: {originals: 1, per: 1h}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  run_to_end(*p);
  std::uint64_t originals = 0;
  const auto all = positions_of(*s, originals);
  CHECK(originals == 1);
  CHECK(all.size() == 500);
  for (const auto& [position, n] : all) CHECK_MESSAGE((n == 2 && position % 2 == 1), position);  // of both streams
  CHECK(s->rows_stored().size() == 1000);
  CHECK(s->settled_of("s/0") == 1000);
  CHECK(s->settled_of("s/1") == 1000);
}

TEST_CASE("originals: 0 stores all originals") {
  test_host h;
  auto s = new_stage("s");
  s->reject_in_apply = [](std::string_view) { return true; };
  auto p = h.build(yaml("collapse: {originals: 0}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  run_to_end(*p);
  std::uint64_t originals = 0;
  CHECK(positions_of(*s, originals).size() == 1000);
  CHECK(originals == 1000);
}

TEST_CASE("when_full: discard delivers good records while the dead letters cannot be written") {
  test_host h;
  auto s = new_stage("s");
  s->rows = 20'000;
  s->reject_in_apply = is_odd;
  std::atomic<bool> full{true};
  s->on_dead = [&](std::uint64_t) {
    return full ? pl::result<void>(pl::retry("the disk is full")) : pl::result<void>();
  };
  auto p = h.build(yaml("when_full: discard, queue: {max_bytes: 64KiB}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] {
    p->supervise();
    return s->rows_stored().size() == 10'000;
  }));
  CHECK(s->settled_of("s/0") < 20'000);  // what waits for the dead-letter sink is not settled
  full = false;
  run_to_end(*p);
  p.reset();
  CHECK(s->settled_of("s/0") == 20'000);
  std::uint64_t originals = 0;
  auto all = positions_of(*s, originals);
  CHECK(originals > 0);
  CHECK(originals < 10'000);
  const auto log = h.log();
  constexpr std::string_view begin = "stream s/0, positions ";
  for (auto at = log.find(begin); at != std::string::npos; at = log.find(begin, at + 1)) {
    const auto from = at + begin.size();
    count_positions(std::string_view(log).substr(from, log.find(';', from) - from), all);
  }
  CHECK(all.size() == 10'000);
  for (const auto& [position, n] : all) CHECK_MESSAGE((n == 1 && position % 2 == 1), position);
  const auto discarded = std::to_string(10'000 - originals);
  CHECK(h.metrics().render().find("pipeline_discarded_total{node=\"mid\",pipeline=\"t\"} " + discarded + "\n") !=
        std::string::npos);
}

TEST_CASE("when_full: wait pauses the source, and nothing is lost") {
  test_host h;
  auto s = new_stage("s");
  s->rows = 20'000;
  s->reject_in_apply = is_odd;
  std::atomic<bool> full{true};
  s->on_dead = [&](std::uint64_t) {
    return full ? pl::result<void>(pl::retry("the disk is full")) : pl::result<void>();
  };
  auto p = h.build(yaml("queue: {max_bytes: 64KiB}, collapse: {originals: 0}"));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] { return s->keep_alives > 0; }));  // the lane polls for no records: it waits for room
  CHECK(s->rows_stored().size() < 10'000);
  full = false;
  run_to_end(*p);
  std::uint64_t originals = 0;
  CHECK(positions_of(*s, originals).size() == 10'000);
  CHECK(originals == 10'000);
  CHECK(s->rows_stored().size() == 10'000);
}

TEST_CASE("reasons are of one kind if they differ in numbers and quoted texts only") {
  CHECK(kind_of_reason("byte 17: unexpected 'x'") == kind_of_reason("byte 3: unexpected 'it's'"));
  CHECK(kind_of_reason("column \"a\" is missing") == kind_of_reason("column \"b\" is missing"));
  CHECK(kind_of_reason("it's too late") != kind_of_reason("it's too early"));
  CHECK(kind_of_reason(std::string(100'000, 'x')).size() <= 300);
  CHECK(kind_of_reason("an open ' quote") == "an open ' quote");
}

TEST_CASE("each node and reason has its own limit, in each period") {
  reason_limit limit;
  limit.set({2, std::chrono::seconds(60)});
  const std::int64_t second = 1'000'000'000;
  CHECK(limit.admit("a", "x 1", 0));
  CHECK(limit.admit("a", "x 2", 0));
  CHECK_FALSE(limit.admit("a", "x 3", 59 * second));
  CHECK(limit.admit("a", "y", 59 * second));
  CHECK(limit.admit("b", "x", 59 * second));
  CHECK(limit.is_first_excess("a", "x 3"));
  CHECK_FALSE(limit.is_first_excess("a", "x 4"));
  CHECK(limit.admit("a", "x 5", 60 * second));
  CHECK(limit.admit("a", "x 6", -1));  // the clock was set back: another period
}

TEST_CASE("reasons without end do not use memory without end, nor do they circumvent the limit") {
  reason_limit limit;
  limit.set({1, std::chrono::seconds(60)});
  int admitted = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string reason;
    for (int n = i; n != 0; n /= 26) reason += static_cast<char>('a' + n % 26);
    admitted += limit.admit("a", reason, 1) ? 1 : 0;
  }
  CHECK(admitted <= 1001);
  CHECK(limit.group_of("a", "b") == "b");       // one of the first
  CHECK(limit.group_of("a", "another") == "");  // the others share a group, and so a dead letter
  CHECK(limit.is_first_excess("a", "another"));
  CHECK(limit.admit("b", "another", 1));  // the reasons of another node have a limit of their own
  CHECK_FALSE(limit.admit("b", "one more", 1));
  CHECK(limit.is_first_excess("b", "one more"));
  CHECK_FALSE(limit.is_first_excess("a", "one more"));
}

TEST_CASE("the column `record` of a collapsed dead letter can be read back") {
  position_runs runs;
  for (const std::uint64_t p : {1U, 2U, 3U, 5U, 7U, 8U}) runs.add(p);
  CHECK(runs.text() == "1-3,5,7-8");
  CHECK(runs.runs() == 3);
  const auto json = collapsed_record({6, runs.text()});
  CHECK(json == R"({"$collapsed":{"records":6,"positions":"1-3,5,7-8"}})");
  const auto back = parse_collapsed(json);
  REQUIRE(back);
  CHECK(back->records == 6);
  CHECK(back->positions == "1-3,5,7-8");
  std::string included;
  for (std::uint64_t p = 0; p < 10; ++p)
    if (includes(*back, p)) included += std::to_string(p);
  CHECK(included == "123578");
  CHECK_FALSE(includes({1, ""}, 0));
  CHECK_FALSE(includes({1, "x"}, 0));
  CHECK_FALSE(parse_collapsed(R"({"$shortened":{}})"));
  CHECK_FALSE(parse_collapsed(R"({"$collapsed":7})"));
  CHECK_FALSE(parse_collapsed("7"));
}

}  // namespace
}  // namespace pl::engine::test
