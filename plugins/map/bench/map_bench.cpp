// SPDX-License-Identifier: Apache-2.0
// Measures the time for each row of a map with five arithmetic columns, with a text, and with new names only.
//
//   map_bench [rows in a batch]
#include "map.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/bench.hpp>

int main(int argc, char** argv) {
  using pl::testing::list;
  using pl::testing::object;
  static const pl::detail::component_table<map::map> table;
  const pl::testing::telemetry_batch in(pl::testing::rows_argument(argc, argv));
  const auto five = object({{"fahrenheit", "temperature * 9 / 5 + 32"},
                            {"kelvin", "temperature + 273.15"},
                            {"dew_point", "temperature - (100 - humidity) / 5"},
                            {"fraction", "humidity / 100"},
                            {"difference", "temperature - humidity"}});
  pl::testing::measure_transform("five arithmetic columns", *table.raw(), {{"set", five}}, in);
  pl::testing::measure_transform("a text", *table.raw(), {{"set", object({{"name", "device_id + '!'"}})}}, in);
  pl::testing::measure_transform("rename and drop", *table.raw(),
                                 {{"rename", object({{"temperature", "t"}})}, {"drop", list({"humidity"})}}, in);
}
