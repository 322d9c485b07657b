// SPDX-License-Identifier: Apache-2.0
// The parts of a group together are the group: each row once, contiguous positions, and changes with their records.
#include "engine/write_cutter.hpp"

#include "engine/schema_pool.hpp"

#include <pipeline/moves.hpp>

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

using namespace pl;
using namespace pl::engine;

namespace {

struct made_range {
  std::string_view stream;
  std::uint64_t first, next;
};

class fixture {
 public:
  // Add a batch to the group. Each row is at (index of its range, position); PL_UNKNOWN: it has none.
  record_batch& add(const std::vector<made_range>& ranges,
                    const std::vector<std::pair<std::uint32_t, std::uint64_t>>& rows, bool origins = true) {
    const pl_str name = borrow("v");
    const auto* schema = schemas_.intern(&name, 1);
    batch_ref b(new record_batch(pool_, nullptr, schema, static_cast<std::uint32_t>(rows.size())));
    auto* cells = in<cell>(*b, rows.size());
    auto* pos = in<std::uint64_t>(*b, rows.size());
    auto* origin = in<std::uint32_t>(*b, rows.size());
    auto* made = in<pl_range>(*b, ranges.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      cells[i] = text_cell("abcd");
      origin[i] = rows[i].first;
      pos[i] = rows[i].second;
    }
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      made[i] = range_of(borrow(ranges[i].stream), ranges[i].first, ranges[i].next);
      made[i].source = borrow("s");
      made[i].epoch = 1;
    }
    b->cols[0] = cells;
    b->ranges = made;
    b->nranges = static_cast<std::uint32_t>(ranges.size());
    if (origins) b->origin = origin;
    b->pos = pos;
    group_.push_back(std::move(b));
    return *group_.back();
  }
  void change(record_batch& of, std::uint32_t range, std::string_view key) {
    std::vector<pl_state_change> all(of.view().state_changes().begin(), of.view().state_changes().end());
    all.push_back({range, 0, borrow("n"), borrow(key), borrow("x")});
    REQUIRE(set_changes(of, all));
  }

  struct part {
    std::map<std::string, std::vector<std::uint64_t>> rows;  // by stream
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> moves;
    std::vector<std::string> changes;
    std::uint64_t count = 0, bytes = 0;
  };
  std::vector<part> parts(write_limits limits, bool keeps_positions = true) {
    std::vector<batch_ref> shared;
    for (const auto& b : group_) shared.push_back(batch_ref::share(*b));
    write_cutter cutter(std::move(shared), keeps_positions, pool_);
    std::vector<part> all;
    while (!cutter.done()) {
      auto next = cutter.next(limits);
      REQUIRE(next);
      if (!next->empty()) all.push_back(seen(*next));
    }
    return all;
  }

 private:
  template <class T>
  static T* in(record_batch& b, std::size_t n) {
    return static_cast<T*>(b.alloc(std::max<std::size_t>(1, n) * sizeof(T), alignof(T)));
  }
  static part seen(const std::vector<batch_ref>& batches) {
    part p;
    std::vector<pl_batch*> raw;
    for (const auto& b : batches) {
      raw.push_back(b.get());
      for (const auto row : b->view().selection()) {
        p.rows[std::string(b->view().stream(row))].push_back(b->view().position(row));
        ++p.count;
      }
      p.bytes += b->nsel == 0 ? 0 : b->write_bytes();
      for (const auto& c : b->view().state_changes()) {
        REQUIRE(c.range < b->nranges);
        p.changes.push_back(std::string(view(b->ranges[c.range].stream)) + ":" + std::string(view(c.key)));
      }
    }
    const auto moves = moves_of({raw.data(), static_cast<std::uint32_t>(raw.size())});
    REQUIRE(moves);
    for (const auto& m : *moves) p.moves[m.stream] = {m.first, m.next};
    return p;
  }

  memory_budget budget_{std::uint64_t{1} << 30};
  block_pool pool_{budget_};
  schema_pool schemas_;
  std::vector<batch_ref> group_;
};

using pair = std::pair<std::uint64_t, std::uint64_t>;

}  // namespace

TEST_CASE_FIXTURE(fixture, "a part ends before the record of the next row") {
  add({{"t/0", 10, 50}}, {{0, 12}, {0, 20}, {0, 33}, {0, 40}});
  const auto all = parts({2, 1'000'000});
  REQUIRE(all.size() == 2);
  CHECK(all[0].rows.at("t/0") == std::vector<std::uint64_t>{12, 20});
  CHECK(all[0].moves.at("t/0") == pair{10, 33});  // 33 is a record; the positions between are not known to be
  CHECK(all[1].moves.at("t/0") == pair{33, 50});
}

TEST_CASE_FIXTURE(fixture, "max_bytes counts 16 bytes for each value and the length of text") {
  add({{"t/0", 0, 6}}, {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}});
  const auto all = parts({100, 59});
  REQUIRE(all.size() == 3);
  for (const auto& p : all) CHECK(p.bytes == 40);
  CHECK(parts({100, 19}).size() == 6);  // a record that exceeds the limit alone
}

TEST_CASE_FIXTURE(fixture, "the rows of one record stay together, over all batches of the group") {
  add({{"t/0", 0, 3}}, {{0, 0}, {0, 0}, {0, 0}, {0, 1}, {0, 2}});
  add({{"t/0", 0, 3}}, {{0, 0}, {0, 2}});
  const auto all = parts({2, 1'000'000});
  REQUIRE(all.size() == 3);
  CHECK(all[0].count == 4);
  CHECK(all[1].count == 1);
  CHECK(all[2].count == 2);
  CHECK(parts({2, 1'000'000}, false).size() == 4);  // without positions a part may end anywhere
}

TEST_CASE_FIXTURE(fixture, "rows without positions keep their range whole") {
  add({{"t/0", 0, 4}}, {{0, 0}, {0, 1}, {0, 2}, {0, 3}});
  add({{"t/0", 0, 4}}, {{0, PL_UNKNOWN}});
  add({{"t/0", 4, 8}}, {{0, 4}, {0, 5}, {0, 6}, {0, 7}});
  const auto all = parts({2, 1'000'000});
  REQUIRE(all.size() == 3);
  CHECK(all[0].count == 5);
  CHECK(all[0].moves.at("t/0") == pair{0, 4});
  CHECK(all[1].moves.at("t/0") == pair{4, 6});
}

TEST_CASE_FIXTURE(fixture, "rows of an unknown stream keep the group whole") {
  add({{"t/0", 0, 2}, {"t/1", 0, 2}}, {{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  CHECK(parts({1, 1'000'000}).size() == 4);
  add({{"t/0", 0, 2}, {"t/1", 0, 2}}, {{0, PL_UNKNOWN}}, false);
  CHECK(parts({1, 1'000'000}).size() == 1);
}

TEST_CASE_FIXTURE(fixture, "changes of state are written with their records, and those of a timer after them") {
  auto& first = add({{"t/0", 0, 3}}, {{0, 0}, {0, 1}, {0, 2}});
  change(first, 0, "watermark");
  auto& timer = add({{"t/0", 3, 3}}, {{0, PL_UNKNOWN}});
  change(timer, 0, "silent");
  add({{"t/0", 3, 5}}, {{0, 3}, {0, 4}});
  const auto all = parts({1, 1'000'000});
  REQUIRE(all.size() == 5);
  CHECK(all[0].changes == std::vector<std::string>{"t/0:watermark"});
  CHECK(all[1].changes.empty());
  CHECK(all[2].changes == std::vector<std::string>{"t/0:silent"});
  CHECK(all[2].moves.at("t/0") == pair{2, 3});
  CHECK(all[2].count == 2);  // the record before the timer, and the row of the timer
}

TEST_CASE_FIXTURE(fixture, "a batch without rows moves its positions with the last part") {
  add({{"t/0", 0, 9}, {"t/1", 5, 7}}, {{0, 0}, {0, 1}});
  add({{"t/0", 0, 9}, {"t/1", 5, 7}}, {});
  const auto all = parts({1, 1'000'000});
  REQUIRE(all.size() == 2);
  CHECK(all[0].moves.at("t/0") == pair{0, 1});
  CHECK(!all[0].moves.contains("t/1"));
  CHECK(all[1].moves.at("t/0") == pair{1, 9});
  CHECK(all[1].moves.at("t/1") == pair{5, 7});
}

TEST_CASE("random groups: the parts are the group") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    fixture f;
    std::map<std::string, std::uint64_t> at{{"a", random() % 5}, {"b", random() % 5}, {"c", 0}}, first = at;
    std::map<std::string, std::multimap<std::uint64_t, int>> rows;
    std::size_t changes = 0;
    const std::vector<std::string> names{"a", "b", "c"};
    for (auto left = 1 + random() % 4; left != 0; --left) {
      std::vector<made_range> ranges;
      for (const auto& n : names)
        if (random() % 3 != 0) ranges.push_back({n, at[n], at[n] + random() % 20});
      if (ranges.empty()) continue;
      for (auto siblings = 1 + random() % 3; siblings != 0; --siblings) {
        std::vector<std::pair<std::uint32_t, std::uint64_t>> placed;
        for (std::uint32_t r = 0; r < ranges.size(); ++r)
          for (auto p = ranges[r].first; p < ranges[r].next; ++p)
            for (auto n = random() % 3; n != 0; --n) {
              const bool unknown = random() % 40 == 0;
              placed.emplace_back(r, unknown ? PL_UNKNOWN : p);
              rows[std::string(ranges[r].stream)].emplace(unknown ? PL_UNKNOWN : p, 0);
            }
        auto& b = f.add(ranges, placed);
        if (random() % 3 == 0) {
          f.change(b, static_cast<std::uint32_t>(random() % ranges.size()), "k");
          ++changes;
        }
      }
      for (const auto& r : ranges) at[std::string(r.stream)] = r.next;
    }
    const write_limits limits{1 + random() % 12, 20 * (1 + random() % 12)};
    std::size_t seen_changes = 0;
    for (const auto& p : f.parts(limits)) {
      for (const auto& [stream, move] : p.moves) {
        CHECK(move.first == first[stream]);
        first[stream] = move.second;
      }
      seen_changes += p.changes.size();
      for (const auto& [stream, positions] : p.rows)
        for (const auto position : positions) {
          const auto found = rows[stream].find(position);
          REQUIRE(found != rows[stream].end());
          rows[stream].erase(found);
          REQUIRE(p.moves.contains(stream));
          const auto [lo, hi] = p.moves.at(stream);
          if (position != PL_UNKNOWN && lo != hi) CHECK((lo <= position && position < hi));
        }
    }
    for (const auto& [stream, left] : rows) CHECK(left.empty());
    for (const auto& [stream, end] : at) CHECK(first[stream] == end);
    CHECK(seen_changes == changes);
  }
}
