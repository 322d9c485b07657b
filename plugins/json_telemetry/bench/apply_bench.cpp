// SPDX-License-Identifier: Apache-2.0
// How many messages one lane reads a second of CPU time: json_telemetry's whole apply, from payloads to columns.
//
//   json_telemetry_bench <json_telemetry.so> [messages] [rounds]
#include <pipeline/testing/conformance.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::size_t rows_per_batch = 1000;

struct workload {
  const char* name;
  std::vector<std::string> messages;
};

std::string plain(std::mt19937_64& random, std::int64_t now_s) {
  char text[256];
  const auto r = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  char stamp[32];
  const std::time_t t = now_s - r(3600);
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", std::gmtime(&t));
  std::snprintf(
      text, sizeof text,
      R"({"user_id":"user%02d","device_id":"device%03d","timestamp":"%s.%03dZ","temperature":%d.%02d,"humidity":%d.%d})",
      r(30), r(90), stamp, r(1000), r(60), r(100), r(100), r(10));
  return text;
}

std::string with_extra(std::mt19937_64& random, std::int64_t now_s) {
  auto text = plain(random, now_s);
  text.pop_back();
  return text + R"(,"meta":{"fw":"1.4.2","rssi":-71},"co2":412})";
}

std::string nested(std::mt19937_64& random, std::int64_t now_s) {
  char text[256];
  const auto r = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::snprintf(
      text, sizeof text,
      R"({"deviceId": "device%03d", "userId": "user%02d", "ts": %lld, "metrics": {"temperature": %d.%02d, "humidity": %d.%d}})",
      r(90), r(30), static_cast<long long>(now_s * 1000 - r(3'600'000)), r(60), r(100), r(100), r(10));
  return text;
}

// Of this thread alone, so that a busy machine measures the same.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double measured(const pl_component& component, const workload& work) {
  pl::testing::fake_host host;
  pl::testing::instance instance(host, component);
  if (instance.create() != PL_OK || instance.start() != PL_OK) {
    std::fprintf(stderr, "%s\n", host.error_text().c_str());
    return 0;
  }
  std::vector<pl::batch> batches;
  for (std::size_t i = 0; i < work.messages.size(); i += rows_per_batch) {
    std::vector<pl::cell> cells;
    for (std::size_t k = i; k < std::min(i + rows_per_batch, work.messages.size()); ++k)
      cells.push_back(pl::bytes_cell(work.messages[k]));
    batches.push_back(host.make_batch({{"value", cells}}, "bench/0", i));
  }
  const auto begin = cpu_seconds();
  std::size_t rows = 0;
  for (auto& b : batches) {
    if (instance.apply(b.get()) != PL_OK) return 0;
    rows += instance.output().front().data.get().selected();
    instance.output().clear();
  }
  const auto took = cpu_seconds() - begin;
  if (rows != work.messages.size()) std::fprintf(stderr, "only %zu of %zu\n", rows, work.messages.size());
  return static_cast<double>(work.messages.size()) / took;
}

}  // namespace

int main(int argc, char** argv) {
  std::string error;
  const auto* plugin = argc > 1 ? pl::testing::load_plugin(argv[1], error) : nullptr;
  if (plugin == nullptr)
    return std::fprintf(stderr, "usage: %s json_telemetry.so [messages] [rounds]\n%s\n", argv[0], error.c_str()), 2;
  const auto count = argc > 2 ? std::stoul(argv[2]) : 500'000UL;
  const auto rounds = argc > 3 ? std::stoi(argv[3]) : 5;
  const std::int64_t now = std::time(nullptr);
  std::mt19937_64 random(1);
  std::vector<workload> all{{"plain", {}}, {"with extra", {}}, {"nested", {}}};
  for (std::size_t i = 0; i < count; ++i) {
    all[0].messages.push_back(plain(random, now));
    all[1].messages.push_back(with_extra(random, now));
    all[2].messages.push_back(nested(random, now));
  }
  for (const auto& work : all) {
    std::vector<double> speeds;
    for (int i = 0; i < rounds; ++i) speeds.push_back(measured(*plugin->components[0], work));
    std::sort(speeds.begin(), speeds.end());
    std::printf("%-12s %4zu bytes a message  %6.2f M msg/s (median of %d)  best %6.2f\n", work.name,
                work.messages[0].size(), speeds[speeds.size() / 2] / 1e6, rounds, speeds.back() / 1e6);
  }
  return 0;
}
