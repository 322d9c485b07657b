// SPDX-License-Identifier: Apache-2.0
// Measures the time that a transform takes for each row of a batch of everyday telemetry.
#pragma once

#include <pipeline/testing/instance.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace pl::testing {

// A batch with the columns of a climate sensor, and their kinds.
struct telemetry_batch {
  explicit telemetry_batch(std::uint32_t rows) {
    std::mt19937 random(7);
    std::vector<std::string> ids;
    for (std::uint32_t i = 0; i < rows; ++i) ids.push_back("th-" + std::to_string(i % 200));
    std::vector<cell> device, temperature, humidity, readings;
    for (std::uint32_t i = 0; i < rows; ++i) {
      device.push_back(text_cell(ids[i]));
      temperature.push_back(real_cell(std::uniform_real_distribution<double>(-20, 80)(random)));
      humidity.push_back(real_cell(std::uniform_real_distribution<double>(20, 100)(random)));
      readings.push_back(json_cell(R"([{"t": 1, "v": 2.5}, {"t": 2, "v": 2.6}, 7])"));
    }
    batch = host.make_batch(
        {{"device_id", device}, {"temperature", temperature}, {"humidity", humidity}, {"readings", readings}});
    columns = {&batch.get().schema(), {PL_TEXT, PL_F64, PL_F64, PL_JSON}};
  }
  mutable fake_host host;
  pl::batch batch;
  column_set columns;
};

[[nodiscard]] inline std::uint32_t rows_argument(int argc, char** argv) {
  return argc > 1 ? static_cast<std::uint32_t>(std::max(1, std::atoi(argv[1]))) : 1000;
}

// Print the nanoseconds for each row: the best of many short measurements, which ran without interruption.
inline void measure_transform(const std::string& what, const pl_component& component, const config_fields& options,
                              const telemetry_batch& in) {
  instance unit(in.host, component, options);
  column_set out;
  if (unit.create() != PL_OK || ask_columns(component, unit.self(), in.columns, 0, out) != PL_OK)
    return void(std::fprintf(stderr, "%s: %s\n", what.c_str(), in.host.error_text().c_str()));
  const auto rows = in.batch.get().rows();
  const auto rounds = std::max<std::uint32_t>(1, 20'000 / rows);
  double best = 1e18;
  for (int repeat = 0; repeat < 200; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < rounds; ++i) {
      (void)unit.apply(in.batch.get());
      unit.output().clear();
    }
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count() / rounds / rows);
  }
  std::printf("%-40s %8.2f ns/row\n", what.c_str(), best);
}

}  // namespace pl::testing
