// SPDX-License-Identifier: Apache-2.0
#include "key_table.hpp"

#include "deadline_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace threshold_alert;

TEST_CASE("unpacking a key returns the packed cells") {
  std::string key;
  const pl::cell cells[] = {pl::text_cell("user 1"), pl::text_cell(""), pl::int_cell(-7), pl::bool_cell(true),
                            pl::real_cell(0.5)};
  for (const auto& c : cells) append_key(key, c);
  std::vector<pl::cell> back;
  unpack_key(key, back);
  REQUIRE(back.size() == 5);
  CHECK(pl::bytes_of(back[0]) == "user 1");
  CHECK((back[1].kind == PL_TEXT && back[1].len == 0));
  CHECK((back[2].kind == PL_I64 && back[2].as.i == -7));
  CHECK((back[3].kind == PL_BOOL && back[3].as.i == 1));
  CHECK((back[4].kind == PL_F64 && back[4].as.f == 0.5));
}

TEST_CASE("the hash distinguishes the columns of a key") {
  const key_hash h(1);
  const auto of = [&](pl::cell a, pl::cell b) { return key_hash::add(key_hash::add(h.start(), a), b); };
  CHECK(of(pl::text_cell("ab"), pl::text_cell("c")) != of(pl::text_cell("a"), pl::text_cell("bc")));
  CHECK(of(pl::text_cell("a"), pl::text_cell("b")) != of(pl::text_cell("b"), pl::text_cell("a")));
  CHECK(of(pl::int_cell(1), pl::int_cell(2)) != of(pl::int_cell(2), pl::int_cell(1)));
}

TEST_CASE("ids of any length that differ in one byte have different hashes") {
  const key_hash h(12345);
  for (const std::size_t length : {1U, 3U, 4U, 7U, 8U, 15U, 16U, 17U, 33U, 64U}) {
    std::map<std::uint64_t, int> seen;
    std::string id(length, 'a');
    for (std::size_t at = 0; at < length; ++at)
      for (int b = 0; b < 8; ++b) {
        id[at] = static_cast<char>('b' + b);
        ++seen[key_hash::add(h.start(), pl::text_cell(id))];
        id[at] = 'a';
      }
    CHECK(seen.size() == length * 8);
  }
}

TEST_CASE("the table finds the same keys as a map after random inserts and erases") {
  key_table table(1);
  std::map<std::string, key_node*> expected;
  std::mt19937 random(3);
  const auto hash_of = [](const std::string& key) {
    return static_cast<std::uint32_t>(std::hash<std::string>{}(key) % 500);
  };  // collisions
  for (int i = 0; i < 20000; ++i) {
    const auto key = "device-" + std::to_string(random() % 700);
    auto* found = table.find(hash_of(key), key);
    const auto known = expected.find(key);
    REQUIRE(found == (known == expected.end() ? nullptr : known->second));
    if (found == nullptr) {
      expected[key] = &table.insert(hash_of(key), key);
    } else if (random() % 2 == 0) {
      table.erase(*found);
      expected.erase(key);
    }
    REQUIRE(table.size() == expected.size());
  }
  std::size_t visited = 0;
  table.for_each([&](const key_node& n) { visited += expected.at(std::string(n.key())) == &n; });
  CHECK(visited == expected.size());
}

TEST_CASE("deadlines are ordered by time, then by key, after random moves and removals") {
  key_table table(0);
  deadline_queue queue;
  std::map<std::string, std::pair<key_node*, std::int64_t>> expected;
  std::mt19937 random(5);
  for (std::uint32_t i = 0; i < 300; ++i) {
    const auto key = std::to_string(i);
    expected[key] = {&table.insert(i, key), no_deadline};
  }
  for (int i = 0; i < 5000; ++i) {
    auto& [node, due] = expected[std::to_string(random() % 300)];
    due = random() % 4 == 0 ? no_deadline : static_cast<std::int64_t>(random() % 50);
    queue.set(*node, due);
  }
  std::vector<std::pair<std::int64_t, std::string>> order, popped;
  for (const auto& [key, at] : expected)
    if (at.second != no_deadline) order.emplace_back(at.second, key);
  std::sort(order.begin(), order.end());
  while (!queue.empty()) {
    const auto [due, node] = queue.front();
    popped.emplace_back(due, node->key());
    queue.remove(*node);
    CHECK(node->queued_at == not_queued);
  }
  CHECK(popped == order);
}
