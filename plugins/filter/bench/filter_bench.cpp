// SPDX-License-Identifier: Apache-2.0
// Measures the time for each row of a filter with one comparison, and with a condition on a text.
//
//   filter_bench [rows in a batch]
#include "filter.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/bench.hpp>

int main(int argc, char** argv) {
  static const pl::detail::component_table<filter::filter> table;
  const pl::testing::telemetry_batch in(pl::testing::rows_argument(argc, argv));
  for (const auto* where : {"temperature > 30", "temperature > 30 && humidity < 50", "device_id.startsWith('th-1')"})
    pl::testing::measure_transform(where, *table.raw(), {{"where", where}}, in);
}
