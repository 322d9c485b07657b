// SPDX-License-Identifier: Apache-2.0
// Measures the time for each row of the input that becomes two rows, or a row for each of three elements.
//
//   unpivot_bench [rows in a batch]
#include "unpivot.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/bench.hpp>

int main(int argc, char** argv) {
  using pl::testing::list;
  static const pl::detail::component_table<unpivot::unpivot> table;
  const pl::testing::telemetry_batch in(pl::testing::rows_argument(argc, argv));
  pl::testing::measure_transform("two columns", *table.raw(),
                                 {{"columns", list({"temperature", "humidity"})}, {"keep", list({"device_id"})}}, in);
  pl::testing::measure_transform("a list of three elements", *table.raw(),
                                 {{"explode", "readings"}, {"keep", list({"device_id"})}}, in);
}
