// SPDX-License-Identifier: Apache-2.0
// Fuzz target: any bytes as the condition of a filter. Every row leaves on exactly one port, with its position.
#include "filter.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/fuzz_rows.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const pl::detail::component_table<filter::filter> table;
  const std::string where(reinterpret_cast<const char*>(data), size);
  pl::testing::fuzz_rows rows;
  pl::testing::instance unit(rows.host, *table.raw(), {{"where", where}});
  if (unit.create() != PL_OK) return 0;
  for (const bool typed : {false, true}) {
    if (typed && !rows.bind(unit)) return 0;
    rows.apply(unit);
    rows.must(rows.each_row_once(unit), "every row leaves on exactly one port");
  }
  return 0;
}
