// SPDX-License-Identifier: Apache-2.0
// Measures how many rows per second kafka_sink writes to a broker.
//
//   kafka_sink_bench BROKERS TOPIC [ROWS [ROWS_PER_WRITE]]
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s BROKERS TOPIC [ROWS [ROWS_PER_WRITE]]\n", argv[0]), 2;
  const std::size_t rows = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 1'000'000;
  const std::size_t rows_per_write = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 10'000;
  using clock = std::chrono::steady_clock;
  for (const std::string format : {"raw", "json"}) {
    pl::testing::fake_host host;
    pl::testing::instance sink(host, *pl::testing::find_component(pl_plugin_v1, "kafka_sink"),
                               {{"brokers", argv[1]}, {"topic", argv[2]}, {"format", format}, {"key", "{device_id}"}});
    if (sink.create() != PL_OK || sink.start() != PL_OK)
      return std::fprintf(stderr, "%s\n", host.error_text().c_str()), 1;
    const std::string value = R"({"user_id":"user-42","device_id":"device-1234","timestamp":1764000000000,)"
                              R"("temperature":21.53,"humidity":40.2,"battery":87})";
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < rows_per_write; ++i) ids.push_back("device-" + std::to_string(i % 90));
    std::vector<pl::cell> id_cells, value_cells(rows_per_write, pl::bytes_cell(value)),
        temperature(rows_per_write, pl::real_cell(21.53));
    for (const auto& id : ids) id_cells.push_back(pl::text_cell(id));
    // raw: an unchanged record; json: a row of typed columns.
    const auto batch =
        format == "raw"
            ? host.make_batch({{"device_id", id_cells}, {"value", value_cells}})
            : host.make_batch(
                  {{"time", std::vector<pl::cell>(rows_per_write, pl::time_cell(1'764'000'000'000'000'000))},
                   {"user_id", std::vector<pl::cell>(rows_per_write, pl::text_cell("user-42"))},
                   {"device_id", id_cells},
                   {"temperature", temperature},
                   {"humidity", std::vector<pl::cell>(rows_per_write, pl::real_cell(40.2))},
                   {"battery", std::vector<pl::cell>(rows_per_write, pl::int_cell(87))}});
    const auto begin = clock::now();
    const auto cpu = std::clock();
    std::size_t written = 0;
    for (; written < rows; written += rows_per_write)
      if (sink.write(batch.get()) != PL_OK) return std::fprintf(stderr, "%s\n", host.error_text().c_str()), 1;
    const auto seconds = std::chrono::duration<double>(clock::now() - begin).count();
    const auto cpu_seconds = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    std::printf("%s: %zu rows, %.0f rows/s, %.2f us of CPU per row (all threads)\n", format.c_str(), written,
                static_cast<double>(written) / seconds, cpu_seconds / static_cast<double>(written) * 1e6);
  }
}
