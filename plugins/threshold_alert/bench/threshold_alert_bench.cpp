// SPDX-License-Identifier: Apache-2.0
// Measures records per second through five rules on the path without alerts, and the memory per device.
//
//   threshold_alert_bench [devices...]
//
// Each is measured without and with an arrival clock.
#include "threshold_alert.hpp"

#include <pipeline/plugin.hpp>
#include <pipeline/testing/instance.hpp>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace {

using pl::testing::list;
using pl::testing::object;
using namespace std::chrono_literals;

constexpr std::uint32_t rows_per_batch = 1000;

// A batch in the benchmark's own memory. Its times advance from round to round, so that no record is late.
struct reusable_batch {
  std::vector<std::string> ids;
  std::vector<pl::cell> time, user, device, temperature, humidity, voltage;
  std::vector<const pl::cell*> columns;
  std::vector<std::uint64_t> pos;
  std::vector<std::int64_t> arrival;
  pl_range range{};
  pl_batch raw{};
};

void fill(reusable_batch& b, const pl_schema* schema, std::mt19937& random, std::uint32_t devices) {
  for (std::uint32_t i = 0; i < rows_per_batch; ++i) b.ids.push_back("sensor-" + std::to_string(random() % devices));
  for (std::uint32_t i = 0; i < rows_per_batch; ++i) {
    b.time.push_back(pl::time_cell(0));
    b.user.push_back(pl::text_cell("user-17"));
    b.device.push_back(pl::text_cell(b.ids[i]));
    b.temperature.push_back(pl::real_cell(20 + static_cast<double>(random() % 400) / 10));
    b.humidity.push_back(pl::real_cell(30 + static_cast<double>(random() % 40)));
    b.voltage.push_back(pl::real_cell(3 + static_cast<double>(random() % 10) / 10));
  }
  b.pos.resize(rows_per_batch);
  b.arrival.resize(rows_per_batch);
  b.columns = {b.time.data(),        b.user.data(),     b.device.data(),
               b.temperature.data(), b.humidity.data(), b.voltage.data()};
  b.raw.size = sizeof b.raw;
  b.raw.rows = b.raw.nsel = rows_per_batch;
  b.raw.nranges = 1;
  b.raw.schema = schema;
  b.raw.cols = b.columns.data();
  b.raw.pos = b.pos.data();
  b.raw.ranges = &b.range;
}

pl::testing::config_fields five_rules() {
  const auto severities =
      list({object({{"severity", "warning"}, {"above", 70.0}}), object({{"severity", "critical"}, {"above", 85.0}})});
  return {{"rules",
           list({object({{"name", "hot"}, {"metric", "temperature"}, {"severities", severities}, {"for", 10s}}),
                 object({{"name", "damp"}, {"metric", "humidity"}, {"outside", list({10.0, 90.0})}}),
                 object({{"name", "battery"}, {"metric", "voltage"}, {"below", 2.5}, {"clear_above", 2.8}}),
                 object({{"name", "jump"}, {"metric", "temperature"}, {"rate_of_change", "second"}, {"above", 1e9}}),
                 object({{"name", "silent"}, {"missing_for", 24h}})})}};
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

void measure(std::uint32_t devices, bool by_arrival) {
  static const pl::detail::component_table<threshold_alert::threshold_alert> table;
  pl::testing::fake_host host;
  pl::testing::instance alerts(host, *table.raw(), five_rules());
  if (alerts.create() != PL_OK || alerts.start() != PL_OK)
    return void(std::fprintf(stderr, "%s\n", host.error_text().c_str()));
  const auto* schema =
      pl::context(&host.raw()).schema({"time", "user_id", "device_id", "temperature", "humidity", "voltage"});
  std::mt19937 random(1);
  std::vector<reusable_batch> batches(std::max(100U, devices / rows_per_batch * 3));
  for (auto& b : batches) fill(b, schema, random, devices);

  std::int64_t now = 1'700'000'000'000'000'000;
  std::uint64_t position = 0;
  const auto run = [&](reusable_batch& b) {
    for (auto& t : b.time) t.as.i = now += 1000;
    for (auto& p : b.pos) p = position++;
    for (std::size_t i = 0; by_arrival && i < b.time.size(); ++i) b.arrival[i] = b.time[i].as.i;
    if (by_arrival) host.set_arrival("iot-stream/0", now);
    b.raw.arrival = by_arrival ? b.arrival.data() : nullptr;
    b.range = pl::range_of(pl::borrow("iot-stream/0"), position - rows_per_batch, position);
    if (alerts.apply(pl::batch_view(&b.raw)) != PL_OK) std::fprintf(stderr, "%s\n", host.error_text().c_str());
  };
  const auto before = resident_bytes();
  for (auto& b : batches) run(b);  // creates the state of all devices
  const auto grown = resident_bytes() - before;
  const auto seen = host.last("alert_devices");

  const auto rounds = std::max<std::size_t>(1, 5'000'000 / (batches.size() * rows_per_batch));
  std::chrono::nanoseconds best = 1h;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t r = 0; r < rounds; ++r)
      for (auto& b : batches) run(b);
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
  }
  const auto records = static_cast<double>(rounds * batches.size() * rows_per_batch);
  std::printf(
      "%8.0f devices  %-10s  %6.2f M records/s  %5.0f ns/record  %4.0f bytes/device (counted) %4.0f (resident)  %zu "
      "alerts\n",
      seen, by_arrival ? "by arrival" : "by time", records * 1e3 / static_cast<double>(best.count()),
      static_cast<double>(best.count()) / records, host.last("alert_state_bytes") / seen,
      static_cast<double>(grown) / seen, alerts.output().size());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::uint32_t> devices{90U, 10'000U, 1'000'000U};
  if (argc > 1) devices.clear();
  for (int i = 1; i < argc; ++i) devices.push_back(static_cast<std::uint32_t>(std::stoul(argv[i])));
  for (const auto n : devices)
    for (const bool by_arrival : {false, true}) measure(n, by_arrival);
}
