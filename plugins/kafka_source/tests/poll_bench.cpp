// SPDX-License-Identifier: Apache-2.0
// Measures how many records per second kafka_source reads from a broker.
//
//   kafka_source_bench BROKERS TOPIC RECORDS [ROWS_PER_POLL [MEMORY_MIB]]
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  if (argc < 4)
    return std::fprintf(stderr, "usage: %s BROKERS TOPIC RECORDS [ROWS_PER_POLL [MEMORY_MIB]]\n", argv[0]), 2;
  const std::size_t records = std::strtoul(argv[3], nullptr, 10);
  const auto rows_per_poll = static_cast<std::uint32_t>(argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 10'000);
  using clock = std::chrono::steady_clock;
  pl::testing::fake_host host;
  host.raw().memory_limit = (argc > 5 ? std::strtoul(argv[5], nullptr, 10) : 64) << 20;
  const auto group = "bench-" + std::to_string(clock::now().time_since_epoch().count());
  pl::testing::instance source(host, *pl::testing::find_component(pl_plugin_v1, "kafka_source"),
                               {{"brokers", argv[1]}, {"topic", argv[2]}, {"group", group}, {"instance", "dynamic"}});
  if (source.create() != PL_OK || source.start() != PL_OK)
    return std::fprintf(stderr, "%s\n", host.error_text().c_str()), 1;
  std::size_t seen = 0, bytes = 0, batches = 0;
  clock::time_point begin;
  std::clock_t cpu = 0;
  while (seen < records) {
    pl::batch batch;
    const auto status = source.poll(batch, rows_per_poll, 64 << 20);
    if (status != PL_OK && status != PL_AGAIN) return std::fprintf(stderr, "%s\n", host.error_text().c_str()), 1;
    if (status != PL_OK) continue;
    if (seen == 0) begin = clock::now(), cpu = std::clock();  // exclude joining the group
    const auto view = batch.get();
    for (const auto& value : view.column(0)) bytes += value.len;
    seen += view.rows();
    ++batches;
    for (const auto& range : view.ranges()) source.settle(pl::view(range.stream), range.first, range.next);
  }
  const auto seconds = std::chrono::duration<double>(clock::now() - begin).count();
  const auto cpu_seconds = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "%zu records, %zu bytes, %zu batches: %.0f records/s, %.2f us of CPU per record (all threads), %ld MiB peak\n",
      seen, bytes, batches, static_cast<double>(seen) / seconds, cpu_seconds / static_cast<double>(seen) * 1e6,
      usage.ru_maxrss / 1024);
  return source.stop() == PL_OK ? 0 : 1;
}
