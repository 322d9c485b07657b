// SPDX-License-Identifier: Apache-2.0
// Measures the time per record for windows of different sizes. No record is a duplicate, and each record removes the
// oldest one from the window.
//
//   deduplicate_bench [remembered...]
#include "deduplicate.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/instance.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

using pl::testing::list;
using namespace std::chrono_literals;

constexpr std::uint32_t rows_per_batch = 4096;
constexpr std::size_t id_size = 32;

// A batch in the benchmark's own memory, so that only the plugin is measured and not the construction of batches.
struct reusable_batch {
  std::string ids = std::string(rows_per_batch * id_size, '0');
  std::vector<pl::cell> id, time, temperature;
  std::vector<const pl::cell*> columns;
  std::vector<std::uint64_t> pos;
  pl_range range{};
  pl_batch raw{};

  explicit reusable_batch(const pl_schema* schema) : pos(rows_per_batch) {
    for (std::uint32_t i = 0; i < rows_per_batch; ++i) {
      id.push_back(pl::text_cell(std::string_view(ids).substr(i * id_size, id_size)));
      time.push_back(pl::time_cell(0));
      temperature.push_back(pl::real_cell(21.5));
    }
    columns = {id.data(), time.data(), temperature.data()};
    raw.size = sizeof raw;
    raw.rows = raw.nsel = rows_per_batch;
    raw.nranges = 1;
    raw.schema = schema;
    raw.cols = columns.data();
    raw.pos = pos.data();
    raw.ranges = &range;
  }
};

void measure(std::uint32_t remembered) {
  static const pl::detail::component_table<deduplicate::deduplicate> table;
  pl::testing::fake_host host;
  pl::testing::instance unit(host, *table.raw(),
                             {{"by", list({"id", "time"})},
                              {"within", 24h},
                              {"max_keys", static_cast<std::int64_t>(remembered)},
                              {"omit", list({"id"})}});
  if (unit.create() != PL_OK || unit.start() != PL_OK)
    return void(std::fprintf(stderr, "%s\n", host.error_text().c_str()));
  const auto* state = static_cast<const pl_ext_state*>(table.raw()->extension(unit.self(), pl::borrow(PL_EXT_STATE)));
  reusable_batch b(pl::context(&host.raw()).schema({"id", "time", "temperature"}));
  std::uint64_t position = 0;
  std::chrono::nanoseconds spent{0}, snapshots{0};
  const auto run = [&] {
    for (std::uint32_t i = 0; i < rows_per_batch; ++i, ++position) {
      b.pos[i] = position;
      b.time[i].as.i = 1'700'000'000'000'000'000 + static_cast<std::int64_t>(position) * 1000;
      std::memcpy(b.ids.data() + i * id_size, &position, sizeof position);
    }
    b.range = pl::range_of(pl::borrow("iot-stream/0"), position - rows_per_batch, position);
    const auto start = std::chrono::steady_clock::now();
    (void)unit.apply(pl::batch_view(&b.raw));
    spent += std::chrono::steady_clock::now() - start;
    unit.output().clear();
  };
  while (position < remembered + rows_per_batch) run();
  std::chrono::nanoseconds best = 1h;
  constexpr std::uint64_t records = 2'000'000;
  for (int repeat = 0; repeat < 3; ++repeat) {
    spent = {};
    const auto until = position + records;
    while (position < until) run();
    best = std::min(best, spent);
  }
  const auto start = std::chrono::steady_clock::now();
  (void)state->snapshot(unit.self(), pl::borrow("iot-stream/0"));
  snapshots = std::chrono::steady_clock::now() - start;
  std::size_t bytes = 0;
  for (const auto& [at, value] : host.state()) bytes += value.size();
  std::printf(
      "%9u in the window  %5.1f ns/record  %4.1f bytes of memory each  complete snapshot: %.1f ms, %.1f bytes each\n",
      remembered, static_cast<double>(best.count()) / static_cast<double>(records),
      host.last("deduplicate_memory_bytes") / remembered, static_cast<double>(snapshots.count()) / 1e6,
      static_cast<double>(bytes) / remembered);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    for (const auto n : {1'000U, 100'000U, 1'000'000U, 10'000'000U}) measure(n);
  for (int i = 1; i < argc; ++i) measure(static_cast<std::uint32_t>(std::stoul(argv[i])));
}
