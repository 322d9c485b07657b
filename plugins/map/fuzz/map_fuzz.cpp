// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as the options of a map, one entry on each line: `=name expression` (set), `>old new` (rename), `+name`
// (keep), `-name` (drop). Every row leaves or is rejected, once, with the columns and kinds that were stated.
#include "map.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/fuzz_rows.hpp>

#include <algorithm>
#include <sstream>

namespace {

using pl::testing::config_fields;
using pl::testing::config_value;

config_fields options_of(const std::string& input, const char* errors) {
  config_fields set, rename;
  std::vector<config_value> keep, drop;
  std::istringstream lines(input);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    const auto rest = line.substr(1);
    const auto space = rest.find(' ');
    const auto name = rest.substr(0, space);
    const auto value = space == std::string::npos ? std::string() : rest.substr(space + 1);
    const auto known = [&](const config_fields& fields) {  // the loader rejects a key that is there twice
      return std::any_of(fields.begin(), fields.end(), [&](const auto& f) { return f.first == name; });
    };
    if (line[0] == '=' && !known(set)) set.emplace_back(name, value);
    if (line[0] == '>' && !known(rename)) rename.emplace_back(name, value);
    if (line[0] == '+') keep.emplace_back(rest);
    if (line[0] == '-') drop.emplace_back(rest);
  }
  return {{"set", pl::testing::object(set)},
          {"rename", pl::testing::object(rename)},
          {"keep", pl::testing::list(keep)},
          {"drop", pl::testing::list(drop)},
          {"errors", errors}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const pl::detail::component_table<map::map> table;
  const std::string input(reinterpret_cast<const char*>(data), size);
  for (const char* errors : {"null", "reject"}) {
    pl::testing::fuzz_rows rows;
    pl::testing::instance unit(rows.host, *table.raw(), options_of(input, errors));
    if (unit.create() != PL_OK) return 0;
    for (const bool typed : {false, true}) {
      if (typed && !rows.bind(unit)) return 0;
      rows.apply(unit);
      rows.must(rows.each_row_once(unit), "every row leaves or is rejected, once");
      if (typed) rows.check_stated(unit);
    }
  }
  return 0;
}
