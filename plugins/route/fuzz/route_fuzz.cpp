// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as the conditions of two routes, separated by a NUL. With `first`, every row leaves on exactly one
// port; with `all`, on at least one.
#include "route.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/fuzz_rows.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const pl::detail::component_table<route::route> table;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto split = input.find('\0');
  const auto routes = pl::testing::object(
      {{"a", input.substr(0, split)}, {"b", split == std::string::npos ? "true" : input.substr(split + 1)}});
  pl::testing::fuzz_rows rows;
  for (const char* match : {"first", "all"}) {
    pl::testing::instance unit(rows.host, *table.raw(), {{"routes", routes}, {"match", match}});
    if (unit.create() != PL_OK) return 0;
    for (const bool typed : {false, true}) {
      if (typed && !rows.bind(unit)) break;
      rows.apply(unit);
      const auto seen = rows.count_rows(unit);
      for (const auto& [position, times] : seen)
        rows.must(*match == 'a' ? times >= 1 : times == 1, "every row leaves on the ports that it matches");
      rows.must(seen.size() == rows.size(), "no row is lost");
    }
  }
  return 0;
}
