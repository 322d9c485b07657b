// SPDX-License-Identifier: Apache-2.0
// Measures the time for each row of a router with two routes.
//
//   route_bench [rows in a batch]
#include "route.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/bench.hpp>

int main(int argc, char** argv) {
  static const pl::detail::component_table<route::route> table;
  const pl::testing::telemetry_batch in(pl::testing::rows_argument(argc, argv));
  const auto routes = pl::testing::object({{"cold", "temperature < 5"}, {"hot", "temperature > 30"}});
  pl::testing::measure_transform("two routes, first", *table.raw(), {{"routes", routes}}, in);
  pl::testing::measure_transform("two routes, all", *table.raw(), {{"routes", routes}, {"match", "all"}}, in);
}
