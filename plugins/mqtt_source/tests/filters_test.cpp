// SPDX-License-Identifier: Apache-2.0
#include "../filters.hpp"

#include <doctest/doctest.h>

#include <string>
#include <tuple>
#include <vector>

using mqtt::relation;

TEST_CASE("a filter matches topics by level") {
  const std::vector<std::tuple<const char*, const char*, bool>> cases = {
      {"a/b", "a/b", true},      {"a/b", "a", false},     {"a", "a/b", false},       {"a/b", "a/c", false},
      {"+", "a", true},          {"+", "", true},         {"+", "a/b", false},       {"+/+", "/a", true},
      {"a/+/c", "a/b/c", true},  {"a/+/c", "a//c", true}, {"a/+/c", "a/b/d", false}, {"a/+", "a", false},
      {"#", "a/b/c", true},      {"a/#", "a", true},      {"a/#", "a/b/c", true},    {"a/#", "ab", false},
      {"a/#", "b/a", false},     {"#", "$SYS/x", false},  {"+/x", "$SYS/x", false},  {"$SYS/#", "$SYS/x", true},
      {"a/$b/#", "a/$b/c", true}};
  for (const auto& [filter, topic, expected] : cases) {
    CAPTURE(filter);
    CAPTURE(topic);
    CHECK(mqtt::matches(filter, topic) == expected);
  }
}

TEST_CASE("a filter may cover another one, or overlap with it") {
  const std::vector<std::tuple<const char*, const char*, bool, bool>> cases = {
      // first, second, the first covers the second, they overlap
      {"a/#", "a/b", true, true},      {"a/b", "a/#", false, true},      {"a/#", "a/#", true, true},
      {"a/#", "a", true, true},        {"a", "a/#", false, true},        {"a/+", "a/b", true, true},
      {"a/+", "+/b", false, true},     {"+/b", "a/+", false, true},      {"a/+", "a/#", false, true},
      {"a/#", "a/+/c", true, true},    {"a/+/c", "a/b/#", false, true},  {"a/b", "a/c", false, false},
      {"a/+", "b/+", false, false},    {"a/+/x", "a/+/y", false, false}, {"#", "$SYS/a", false, false},
      {"+/a", "$SYS/a", false, false}, {"a/b/c", "a/+", false, false},   {"a/+", "a/b/c", false, false}};
  for (const auto& [first, second, covered, overlaps] : cases) {
    CAPTURE(first);
    CAPTURE(second);
    CHECK(mqtt::covers(first, second) == covered);
    CHECK(mqtt::overlap(first, second) == overlaps);
    CHECK(mqtt::overlap(second, first) == overlaps);
  }
}

TEST_CASE("two subscriptions of one client are compared, shared or not") {
  const std::vector<std::tuple<const char*, const char*, relation>> cases = {
      {"a/#", "b/#", relation::separate},
      {"a/#", "a/#", relation::redundant},
      {"a/#", "a/b", relation::redundant},
      {"a/b", "a/#", relation::redundant},
      {"a/+", "+/b", relation::overlapping},
      {"$share/g/a/#", "a/b", relation::redundant},
      {"$share/g/a/#", "$share/h/a/#", relation::redundant},
      {"$share/g/a/+", "$share/h/+/b", relation::overlapping},
      {"$share/g/a/#", "$share/g/b/#", relation::separate}};
  for (const auto& [earlier, later, expected] : cases) {
    CAPTURE(earlier);
    CAPTURE(later);
    const auto found = mqtt::compare(earlier, later);
    CHECK(found.how == expected);
    CHECK(found.problem.empty() == (expected == relation::separate));
  }
}

TEST_CASE("invalid filters are rejected with the reason") {
  for (const char* good : {"a", "/", "#", "+", "a/+/b/#", "+/+", "$share/g/a/#", "$SYS/#", "größe/温度"})
    CHECK_MESSAGE(mqtt::filter_problem(good).empty(), good);
  const std::vector<std::string> bad = {"",
                                        "a#",
                                        "a/#/b",
                                        "a+",
                                        "a/b+/c",
                                        "$share/g",
                                        "$share/g/",
                                        "$share//a",
                                        "$share/+/a",
                                        "a\tb",
                                        std::string("a\0b", 3),
                                        "\xFF",
                                        std::string(65'536, 'x')};
  for (const auto& filter : bad) CHECK_MESSAGE(!mqtt::filter_problem(filter).empty(), filter);
}
