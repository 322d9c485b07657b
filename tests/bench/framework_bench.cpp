// SPDX-License-Identifier: Apache-2.0
// Measures the framework alone: a source that hands out a prepared batch, the transform filter, and a sink that discards
// rows. The program counts allocations, and fails if there are more than a few for each batch.
//
//   framework_bench [records]
#include "engine/testing/test_host.hpp"
#include "filter.hpp"

#include <pipeline/plugin.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

// Count what malloc allocates, for C++ and C code alike. glibc has these names for programs that replace malloc.
extern "C" {
void* __libc_malloc(std::size_t bytes);                        // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(std::size_t elements, std::size_t bytes);  // NOLINT(bugprone-reserved-identifier)
}
namespace {
std::atomic<std::uint64_t> allocations{0};
}
extern "C" void* malloc(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
extern "C" void* calloc(std::size_t elements, std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(elements, bytes);
}

namespace {

using namespace pl;

constexpr std::uint32_t rows = 4096;
constexpr std::uint64_t most_allocations_per_batch = 40;

std::uint64_t wanted = 50'000'000;  // records
std::atomic<std::uint64_t> written{0};

struct no_options {
  static option_table<no_options> table() { return {}; }
};

// Cells that live as long as the program: every batch refers to them.
struct prepared {
  std::vector<std::string> ids;
  std::vector<cell> cells;  // device_id, temperature, humidity

  prepared() {
    for (std::uint32_t i = 0; i < rows; ++i) ids.push_back("device-" + std::to_string(i % 90));
    for (const auto& id : ids) cells.push_back(text_cell(id));
    for (std::uint32_t i = 0; i < rows; ++i) cells.push_back(real_cell(20 + i % 400 / 16.0));
    for (std::uint32_t i = 0; i < rows; ++i) cells.push_back(real_cell(40 + i % 32 / 8.0));
  }
};

class generator final : public source {
 public:
  using options = no_options;
  static description describe() {
    return {.name = "generator", .doc = "Hands out prepared rows.", .example = "plugin: generator"};
  }
  generator(const options&, context ctx) : ctx_(ctx), schema_(ctx.schema({"device_id", "temperature", "humidity"})) {}
  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    if (next_ >= wanted) return end_of_stream();
    auto b = ctx_.build(schema_, rows);
    b.pin(from_.cells.data(), from_.cells.size() * sizeof(cell), [](void*) {});
    for (column_index c = 0; c < 3; ++c) b.share_column(c, std::span(from_.cells).subspan(c * rows, rows));
    auto positions = b.allocate<std::uint64_t>(rows);
    for (std::uint32_t i = 0; i < rows; ++i) positions[i] = next_ + i;
    b.set_positions(positions);
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow("s"), next_, next_ + rows);
    b.set_ranges(range);
    next_ += rows;
    return std::move(b).finish();
  }

 private:
  context ctx_;
  const pl_schema* schema_;
  prepared from_;
  std::uint64_t next_ = 0;
};

class null_sink final : public sink {
 public:
  using options = no_options;
  static description describe() {
    return {.name = "null_sink",
            .doc = "Discards rows.",
            .example = "plugin: null_sink\nfrom: in",
            .dead_letters = "{plugin: null_sink}"};
  }
  null_sink(const options&, context) {}
  result<void> write(const batch_list& batches) override {
    written += batches.rows();
    return {};
  }
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) wanted = std::strtoull(argv[1], nullptr, 10);
  const auto folder = std::filesystem::temp_directory_path() / ("framework_bench." + std::to_string(getpid()));
  engine::test::test_host host;
  static const pl_plugin plugin = detail::make_plugin<generator, ::filter::filter, null_sink>("1");
  host.add(plugin);
  const auto pipeline = host.build("name: p\nstate_dir: " + folder.string() +
                                   "\nsources: {in: {plugin: generator}}\n"
                                   "transforms: {warm: {plugin: filter, from: in, where: temperature > 30}}\n"
                                   "sinks: {out: {plugin: null_sink, from: warm}}\n"
                                   "dead_letters: {plugin: null_sink}\n");
  if (!pipeline) return std::fprintf(stderr, "%s\n", host.problems.c_str()), 1;
  const auto cpu = cpu_seconds();
  const auto before = allocations.load();
  pipeline->start();
  if (!engine::test::eventually([&] { return pipeline->ended(); })) return std::fputs("it does not end\n", stderr), 1;
  pipeline->join();
  const auto seconds = cpu_seconds() - cpu;
  const auto batches = (wanted + rows - 1) / rows;
  const auto records = static_cast<double>(batches * rows);
  const auto made = allocations.load() - before;
  std::filesystem::remove_all(folder);
  std::printf(
      "%.0f records, %llu of them written: %.1f M records per second of CPU time, all threads; %.1f ns each; %.1f "
      "allocations for each batch of %u\n",
      records, static_cast<unsigned long long>(written.load()), records / seconds / 1e6, seconds / records * 1e9,
      static_cast<double>(made) / static_cast<double>(batches), rows);
  if (written == 0 || !pipeline->failure().empty()) return std::fprintf(stderr, "%s\n", pipeline->failure().c_str()), 1;
  return made / batches <= most_allocations_per_batch ? 0 : 1;
}
