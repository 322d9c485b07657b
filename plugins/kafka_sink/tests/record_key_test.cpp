// SPDX-License-Identifier: Apache-2.0
// Different values never make the same key.
#include "record_key.hpp"

#include "mock_topic.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace kafka;

namespace {

// Return the keys of the rows, whose columns are "a" and "b".
std::vector<std::string> keys(std::string_view source, const std::vector<std::pair<std::string, std::string>>& rows) {
  pl::testing::fake_host host;
  std::vector<pl::cell> a, b;
  for (const auto& [first, second] : rows) {
    a.push_back(pl::text_cell(first));
    b.push_back(pl::text_cell(second));
  }
  const auto batch = host.make_batch({{"a", a}, {"b", b}});
  auto key = record_key::parse(source);
  REQUIRE(key.ok());
  const pl::batch_view view(batch.get());
  REQUIRE_FALSE(key.value().bind(view.schema()).has_value());
  std::vector<std::string> all;
  for (pl::row_index row = 0; row < view.rows(); ++row) key.value().render(all.emplace_back("left over"), view, row);
  return all;
}

std::string fault(std::string_view source) {
  const auto key = record_key::parse(source);
  return key.ok() ? "" : key.why().message;
}

}  // namespace

TEST_CASE("values that contain the separator do not make the key of other values") {
  CHECK(keys("users/{a}/devices/{b}", {{"a", "b/devices/c"}, {"a/devices/b", "c"}, {"u 1", "d%"}}) ==
        std::vector<std::string>{"users/a/devices/b%2Fdevices%2Fc", "users/a%2Fdevices%2Fb/devices/c",
                                 "users/u 1/devices/d%25"});
}

TEST_CASE("short values over the separators' characters all make different keys") {
  const std::string characters = "/:d%2F-";
  std::vector<std::string> values{""};
  for (std::size_t from = 0, length = 1; length <= 3; ++length)
    for (const auto end = values.size(); from < end; ++from)
      for (const char c : characters) values.push_back(values[from] + c);
  std::vector<std::pair<std::string, std::string>> rows;
  for (std::size_t i = 0; i < values.size(); i += 3)
    for (std::size_t j = i % 7; j < values.size(); j += 5) rows.emplace_back(values[i], values[j]);
  for (const auto* source : {"{a}/{b}", "x{a}d:/d{b}", "{a}-d{b}/", "d/{a}d-{b}d"}) {
    const auto all = keys(source, rows);
    CHECK(std::set(all.begin(), all.end()).size() == std::set(rows.begin(), rows.end()).size());
  }
}

TEST_CASE("a key of one column is the column's value, unchanged") {
  CHECK(keys("{a}", {{"a/b%", "x"}}) == std::vector<std::string>{"a/b%"});
  CHECK(keys("devices/{a}", {{"a/b", "x"}}) == std::vector<std::string>{"devices/a/b"});
  CHECK(keys("fixed", {{"a", "x"}}) == std::vector<std::string>{"fixed"});
}

TEST_CASE("columns that nothing separates are an error") {
  CHECK(fault("{a}{b}").find("nothing separates the columns 'a' and 'b'") != std::string::npos);
  CHECK(fault("{a}x{b}").find("write for example {a}/{b}") != std::string::npos);
  CHECK(fault("{a}%{b}").find("nothing separates") != std::string::npos);
  CHECK(fault("x{a}/y{b}z").empty());
}
