// SPDX-License-Identifier: Apache-2.0
#include "row_search.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <set>
#include <vector>

using timescale::row_search;

namespace {

struct outcome {
  std::vector<std::size_t> accepted, rejected;
  std::size_t attempts = 0, rows_sent = 0;
};

// Simulate a database that rejects every piece with a bad row. line(first_bad, count): the row number in its error,
// from 1; 0: the error has none.
using line_of = std::function<std::size_t(std::size_t first_bad, std::size_t count)>;

outcome run(std::size_t rows, const std::set<std::size_t>& bad, const line_of& line) {
  outcome o;
  const auto first_bad = [&](std::size_t at) { return bad.lower_bound(at); };
  const auto at_first = first_bad(0);
  row_search search(rows, at_first == bad.end() ? 0 : line(*at_first, rows));
  while (!search.done()) {
    const auto p = search.next();
    REQUIRE(p.count > 0);
    REQUIRE(p.first + p.count <= rows);
    ++o.attempts;
    o.rows_sent += p.count;
    REQUIRE(o.attempts < 100 * rows + 100);
    const auto hit = first_bad(p.first);
    if (hit == bad.end() || *hit >= p.first + p.count) {
      for (std::size_t i = 0; i < p.count; ++i) o.accepted.push_back(p.first + i);
      search.accepted();
    } else if (search.rejected(line(*hit - p.first, p.count))) {
      REQUIRE(p.count == 1);
      o.rejected.push_back(p.first);
    }
  }
  return o;
}

const line_of right = [](std::size_t first_bad, std::size_t) { return first_bad + 1; };
const line_of silent = [](std::size_t, std::size_t) { return std::size_t{0}; };

void check(std::size_t rows, const std::set<std::size_t>& bad, const line_of& line) {
  const auto o = run(rows, bad, line);
  CHECK(o.rejected == std::vector<std::size_t>(bad.begin(), bad.end()));
  std::vector<std::size_t> good;
  for (std::size_t i = 0; i < rows; ++i)
    if (!bad.contains(i)) good.push_back(i);
  CHECK(o.accepted == good);
}

}  // namespace

TEST_CASE("all bad rows are found, and all others are written once and in order") {
  std::mt19937 random(20'261'124);
  const line_of wrong = [&](std::size_t, std::size_t count) { return random() % (count + 3); };
  for (int k = 0; k < 500; ++k) {
    const auto rows = 1 + random() % 300;
    std::set<std::size_t> bad;
    const auto n = random() % (k % 5 == 0 ? rows + 1 : 4);
    while (bad.size() < std::min<std::size_t>(n, rows)) bad.insert(random() % rows);
    CAPTURE(k);
    check(rows, bad, right);
    check(rows, bad, silent);
    check(rows, bad, wrong);
  }
}

TEST_CASE("no row is bad, although all rows together were rejected (by a constraint at COMMIT)") {
  check(100, {}, silent);
}

TEST_CASE("one bad row of many needs few attempts") {
  const auto named = run(10'000, {7'777}, right);
  CHECK(named.attempts <= 10);  // the rows before it, the row itself, and growing pieces after it
  CHECK(named.rows_sent == 10'000);
  const auto unnamed = run(10'000, {7'777}, silent);
  CHECK(unnamed.attempts <= 25);  // bisection
}

TEST_CASE("if all rows are bad, each needs few attempts, and the others are not sent repeatedly") {
  std::set<std::size_t> all;
  for (std::size_t i = 0; i < 2'000; ++i) all.insert(i);
  const auto named = run(2'000, all, right);
  CHECK(named.attempts <= 2 * 2'000 + 1);
  CHECK(named.rows_sent <= 66 * 2'000);
  const auto unnamed = run(2'000, all, silent);
  CHECK(unnamed.attempts <= 20 * 2'000);
}
