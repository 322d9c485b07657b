// SPDX-License-Identifier: Apache-2.0
#include "../path_tree.hpp"

#include <doctest/doctest.h>

using namespace json_telemetry;

namespace {

std::string shown(std::string_view text) {
  const auto path = parse_path(text);
  if (!path.ok()) return path.why().message;
  std::string out;
  for (const auto& step : *path) out += step.index ? "#" + std::to_string(*step.index) : "<" + step.key + ">";
  return out;
}

}  // namespace

TEST_CASE("paths are parsed") {
  CHECK(shown("temperature") == "<temperature>");
  CHECK(shown("metrics.temperature") == "<metrics><temperature>");
  CHECK(shown("a\\.b.c") == "<a.b><c>");
  CHECK(shown("location.coordinates[0]") == "<location><coordinates>#0");
  CHECK(shown("a[1][2].b") == "<a>#1#2<b>");
  CHECK(shown("a\\[0]") == "<a[0]>");
  CHECK(shown("@timestamp") == "<@timestamp>");
  CHECK(shown(escaped_key("a.b[c\\")) == "<a.b[c\\>");
  for (const std::string bad :
       {"", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[0]b", "[0]", "a\\", "a[4294967296]"})
    CHECK_MESSAGE(shown(bad).find("is not a valid path") != std::string::npos, bad);
}

TEST_CASE("the tree finds exactly its paths") {
  path_tree tree;
  const std::vector<std::string> names = {"a",
                                          "ab",
                                          "abc",
                                          "abcd",
                                          "abcdefgh",
                                          "abcdefgi",
                                          "temperature",
                                          "temperatura",
                                          "a_very_long_name_that_ends_alike",
                                          "a_very_lone_name_that_ends_alike",
                                          "",
                                          "x"};
  for (std::uint16_t i = 0; i < names.size(); ++i) tree.add({{names[i], {}}}, {i, 0});
  tree.add({{"metrics", {}}, {"temperature", {}}}, {100, 1});
  tree.add({{"p", {}}, {{}, 2}}, {101, 0});
  tree.build();
  for (std::uint16_t i = 0; i < names.size(); ++i) {
    const auto at = tree.member(path_tree::root, names[i]);
    REQUIRE(at != path_tree::none);
    CHECK(tree.targets(at)[0].field == i);
  }
  for (const std::string other :
       {"b", "abcde", "temperatur", "Temperature", "a_very_lonf_name_that_ends_alike", "metric", "xx", "abcdefgj"})
    CHECK_MESSAGE(tree.member(path_tree::root, other) == path_tree::none, other);
  const auto metrics = tree.member(path_tree::root, "metrics");
  CHECK(tree.has_members(metrics));
  CHECK(tree.targets(tree.member(metrics, "temperature"))[0].rank == 1);
  CHECK(tree.member(tree.member(metrics, "temperature"), "x") == path_tree::none);
  const auto p = tree.member(path_tree::root, "p");
  CHECK(tree.targets(tree.element(p, 2))[0].field == 101);
  CHECK(tree.element(p, 1) == path_tree::none);
}
