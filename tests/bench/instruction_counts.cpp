// SPDX-License-Identifier: Apache-2.0
// One step of a pipeline on fixed records, in one thread, for callgrind: instruction_counts.py counts the instructions
// of measured_section and compares them with the recorded ceilings.
//
//   instruction_counts FOLDER_OF_PLUGINS parse|parse_extra|alert|encode|hand_over
//
// The output is the compiler, and the number of units (records or batches) that the measured section processes.
#include "encoder.hpp"
#include "engine/memory.hpp"
#include "engine/schema_pool.hpp"
#include "engine/write_queue.hpp"
#include "telemetry_message.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

volatile int sections = 0;

}  // namespace

// callgrind counts while this function runs (--toggle-collect). The increment prevents that the call becomes a jump.
extern "C" [[gnu::noinline, gnu::used]] void measured_section(const std::function<void()>& work) {
  work();
  sections = sections + 1;
}

namespace {

using namespace pl;
using namespace std::chrono_literals;
using pl::testing::list;
using pl::testing::object;

constexpr std::uint32_t rows_per_batch = 1000;
constexpr std::uint32_t batches = 10;  // as many run before the measurement, so that buffers have their size

std::string message_with_extra(std::uint64_t n) {
  auto text = bench::message(n);
  text.pop_back();
  return text + R"(,"meta":{"firmware":"1.4.2","rssi":-71},"co2":)" + std::to_string(400 + n % 100) + "}";
}

// A transform of a plugin, and the batches that it processes.
class transform_run {
 public:
  transform_run(const std::string& file, const pl::testing::config_fields& options) {
    std::string error;
    const auto* plugin = pl::testing::load_plugin(file, error);
    if (plugin == nullptr) throw std::runtime_error(error);
    unit_ = std::make_unique<pl::testing::instance>(host_, *plugin->components[0], options);
    if (unit_->create() != PL_OK || unit_->start() != PL_OK) throw std::runtime_error(host_.error_text());
  }
  [[nodiscard]] pl::testing::fake_host& host() noexcept { return host_; }
  void add(batch b) { input_.push_back(std::move(b)); }

  std::uint64_t run() {
    apply(0);
    measured_section([&] { apply(batches); });
    if (!host_.rejects().empty()) throw std::runtime_error("rejected: " + host_.rejects().front().reason);
    return std::uint64_t{batches} * rows_per_batch;
  }

 private:
  void apply(std::uint32_t from) {
    for (std::uint32_t i = from; i < from + batches; ++i) {
      if (unit_->apply(input_[i].get()) != PL_OK) throw std::runtime_error(host_.error_text());
      unit_->output().clear();
    }
  }
  pl::testing::fake_host host_;
  std::unique_ptr<pl::testing::instance> unit_;
  std::vector<batch> input_;
};

std::uint64_t parse(const std::string& plugins, const std::function<std::string(std::uint64_t)>& text_of) {
  transform_run run(plugins + "/json_telemetry.so", {{"time_window", object({{"past", std::chrono::days(36'500)}})}});
  for (std::uint64_t first = 0; first < 2 * batches * rows_per_batch; first += rows_per_batch) {
    std::vector<std::string> texts;
    for (std::uint32_t i = 0; i < rows_per_batch; ++i) texts.push_back(text_of(first + i));
    std::vector<cell> cells;
    for (const auto& text : texts) cells.push_back(bytes_cell(text));
    run.add(run.host().make_batch({{"value", cells}}, "bench/0", first));
  }
  return run.run();
}

// Columns as json_telemetry emits them.
batch parsed_batch(pl::testing::fake_host& host, std::uint64_t first) {
  std::vector<std::string> users, devices;
  for (std::uint64_t n = first; n < first + rows_per_batch; ++n) {
    users.push_back(bench::user(n));
    devices.push_back(bench::device(n));
  }
  std::vector<cell> time, user, device, temperature, humidity, absent(rows_per_batch, null_cell());
  for (std::uint32_t i = 0; i < rows_per_batch; ++i) {
    time.push_back(time_cell((bench::first_time_ms + static_cast<std::int64_t>(first + i)) * 1'000'000));
    user.push_back(text_cell(users[i]));
    device.push_back(text_cell(devices[i]));
    temperature.push_back(real_cell(bench::temperature(first + i)));
    humidity.push_back(real_cell(bench::humidity(first + i)));
  }
  return host.make_batch({{"time", time},
                          {"user_id", user},
                          {"device_id", device},
                          {"temperature", temperature},
                          {"humidity", humidity},
                          {"pressure", absent},
                          {"battery", absent},
                          {"extra", absent}},
                         "bench/0", first);
}

std::uint64_t alert(const std::string& plugins) {
  const auto rule = [](const char* name, const char* metric, const char* side, double limit, const char* clear,
                       double end) {
    return object({{"name", name}, {"metric", metric}, {side, limit}, {clear, end}});
  };
  transform_run run(plugins + "/threshold_alert.so",
                    {{"rules", list({rule("overheating", "temperature", "above", 80, "clear_below", 75),
                                     rule("freezing", "temperature", "below", -20, "clear_above", -15),
                                     rule("low_battery", "battery", "below", 10, "clear_above", 15)})}});
  for (std::uint64_t first = 0; first < 2 * batches * rows_per_batch; first += rows_per_batch)
    run.add(parsed_batch(run.host(), first));
  return run.run();
}

std::uint64_t encode() {
  using timescale::wire;
  timescale::row_encoder encoder({{0, wire::timestamp, true, 0, "time", "time", "timestamptz"},
                                  {1, wire::text, false, 0, "user_id", "user_id", "text"},
                                  {2, wire::text, false, 0, "device_id", "device_id", "text"},
                                  {3, wire::float8, false, 0, "temperature", "temperature", "double precision"},
                                  {4, wire::float8, false, 0, "humidity", "humidity", "double precision"},
                                  {5, wire::float8, false, 0, "pressure", "pressure", "double precision"},
                                  {6, wire::float8, false, 0, "battery", "battery", "double precision"},
                                  {7, wire::jsonb, false, 0, "extra", "extra", "jsonb"}});
  pl::testing::fake_host host;
  std::vector<batch> input;
  for (std::uint64_t first = 0; first < batches * rows_per_batch; first += rows_per_batch)
    input.push_back(parsed_batch(host, first));
  timescale::byte_buffer out;
  const auto all = [&] {
    for (const auto& b : input) {
      out.clear(std::size_t{1} << 24U);
      encoder.bind(b.get());
      for (const auto row : b.get().selection())
        if (!encoder.append(out, row)) throw std::runtime_error(encoder.why());
    }
  };
  all();
  measured_section(all);
  return std::uint64_t{batches} * rows_per_batch;
}

// What the engine does for one batch on its way from a lane to a writer and back, without waiting: make the batch and its
// settlement, queue it, take it, and release it, which reports its range.
class hand_over_run {
 public:
  std::uint64_t run() {
    const auto name = borrow("n");
    schema_ = schemas_.intern(&name, 1);
    queue_ = make_queue();
    for (std::uint32_t i = 0; i < rounds; ++i) one();
    measured_section([&] {
      for (std::uint32_t i = 0; i < rounds; ++i) one();
    });
    return rounds;
  }

 private:
  static constexpr std::uint32_t rounds = 200;

  std::unique_ptr<engine::write_queue> make_queue() {
    auto disk =
        std::make_unique<engine::disk_queue>(engine::disk_queue_settings{folder_.path().string(), "p", "store", 0, 0},
                                             std::make_shared<engine::disk_usage>(telemetry::gauge()), memory_.pool,
                                             [](telemetry::log_level, std::string_view) {});
    return std::make_unique<engine::write_queue>(config::batch_settings{rows_per_batch, 1h, 1U << 20U, 1'000'000},
                                                 engine::write_queue::limits{64U << 20U, UINT64_MAX},
                                                 engine::write_queue::gauges{}, memory_.pool, std::move(disk));
  }
  void one() {
    next_ += rows_per_batch;
    engine::batch_ref b(new engine::record_batch(memory_.pool, nullptr, schema_, rows_per_batch));
    b->track(
        std::make_shared<engine::settlement>(inbox_, std::vector<engine::flight>{{stream_, stream_->begin(next_)}}));
    auto* cells = static_cast<cell*>(b->alloc(rows_per_batch * sizeof(cell), alignof(cell)));
    b->cols[0] = cells;
    std::fill_n(cells, rows_per_batch, int_cell(1));
    engine::write_queue::batches group;
    group.push_back(std::move(b));
    queue_->push(std::move(group), [](const engine::queued_group&) {});
    if (queue_->take().size() != 1) throw std::runtime_error("the queue did not return the batch");
    queue_->taken_is_done({});
    for (const auto& report : inbox_.take())
      for (const auto& f : report.flights) f.stream->report(f.number, report.delivered);
    if (stream_->settled() != next_) throw std::runtime_error("the batch was not settled");
  }

  const pl::testing::temp_dir folder_;
  engine::pipeline_memory memory_{std::uint64_t{1} << 30U};
  engine::schema_pool schemas_;
  engine::settlement_inbox inbox_;
  std::shared_ptr<engine::stream_state> stream_ = std::make_shared<engine::stream_state>("bench/0", 0, 0);
  const pl_schema* schema_ = nullptr;
  std::unique_ptr<engine::write_queue> queue_;
  std::uint64_t next_ = 0;
};

#if defined(__clang__)
constexpr const char* compiler = "Clang";
constexpr int compiler_version = __clang_major__;
#else
constexpr const char* compiler = "GNU";
constexpr int compiler_version = __GNUC__;
#endif

std::uint64_t run(const std::string& plugins, std::string_view step) {
  if (step == "parse") return parse(plugins, bench::message);
  if (step == "parse_extra") return parse(plugins, message_with_extra);
  if (step == "alert") return alert(plugins);
  if (step == "encode") return encode();
  if (step == "hand_over") return hand_over_run().run();
  throw std::runtime_error("unknown step '" + std::string(step) + "'");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::runtime_error("usage: instruction_counts FOLDER_OF_PLUGINS STEP");
    const auto units = run(argv[1], argv[2]);
    std::printf("%s %d\n%llu\n", compiler, compiler_version, static_cast<unsigned long long>(units));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "instruction_counts: %s\n", error.what());
    return 1;
  }
}
