// SPDX-License-Identifier: Apache-2.0
// Measures how many messages one lane parses per second of CPU time: json_telemetry's apply, from payloads to columns.
//
//   json_telemetry_bench <json_telemetry.so>... [messages] [rounds]
//
// Several builds of the plugin are measured in alternating rounds.
#include <pipeline/testing/conformance.hpp>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::size_t rows_per_batch = 1000;

using pl::testing::config_fields;

struct workload {
  const char* name;
  std::vector<std::string> messages;
  config_fields options;
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

// As the load tester writes them: four fields go to `extra`.
std::string load_test(std::mt19937_64& random, std::int64_t now_s) {
  char text[320];
  const auto r = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto ms = now_s * 1000 - r(3'600'000);
  std::snprintf(
      text, sizeof text,
      R"({"run":"abcdef","seq":%d,"sent_us":%lld,"user_id":"user-%d","device_id":"abcdef-%d","time":%lld,"temperature":%d.%02d,"humidity":%d.%d,"battery":%d.%d})",
      r(1'000'000), static_cast<long long>(ms) * 1000, r(30), r(90), static_cast<long long>(ms), r(60), r(100), r(100),
      r(10), r(100), r(10));
  return text;
}

std::string wide(std::mt19937_64& random, std::int64_t now_s, int columns) {
  const auto r = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  auto text = R"({"user_id":"user-1","device_id":"device-)" + std::to_string(r(90)) + R"(","time":)" +
              std::to_string(now_s * 1000 - r(3'600'000));
  for (int c = 0; c < columns; ++c)
    text += R"(,"metric_)" + std::to_string(c) + R"(":)" + std::to_string(r(1000)) + '.' + std::to_string(r(100));
  return text + "}";
}

config_fields metrics(int columns) {
  std::vector<pl::testing::config_value> names;
  for (int c = 0; c < columns; ++c) names.emplace_back("metric_" + std::to_string(c));
  return {{"metrics", pl::testing::list(std::move(names))}};
}

// Return the CPU time of this thread, so that other load on the machine does not change the result.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double measured(const pl_component& component, const workload& work) {
  pl::testing::fake_host host;
  pl::testing::instance instance(host, component, work.options);
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

std::vector<workload> workloads(std::size_t count) {
  const std::int64_t now = std::time(nullptr);
  std::mt19937_64 random(1);
  std::vector<workload> all{{"plain", {}, {}},
                            {"with extra", {}, {}},
                            {"nested", {}, {}},
                            {"load test", {}, {}},
                            {"two kinds in turn", {}, {}},
                            {"10 columns", {}, metrics(10)},
                            {"100 columns", {}, metrics(100)},
                            {"100 in extra", {}, {}}};
  for (std::size_t i = 0; i < count; ++i) {
    all[0].messages.push_back(plain(random, now));
    all[1].messages.push_back(with_extra(random, now));
    all[2].messages.push_back(nested(random, now));
    all[3].messages.push_back(load_test(random, now));
    all[4].messages.push_back(i % 2 == 0 ? plain(random, now) : load_test(random, now));
    all[5].messages.push_back(wide(random, now, 10));
    if (i % 10 != 0) continue;
    all[6].messages.push_back(wide(random, now, 100));
    all[7].messages.push_back(wide(random, now, 100));
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<const pl_plugin*> plugins;
  std::vector<long> numbers;
  for (int i = 1; i < argc; ++i) {
    std::string error;
    if (std::string(argv[i]).find_first_not_of("0123456789") == std::string::npos)
      numbers.push_back(std::stol(argv[i]));
    else if (const auto* plugin = pl::testing::load_plugin(argv[i], error))
      plugins.push_back(plugin);
    else
      return std::fprintf(stderr, "%s: %s\n", argv[i], error.c_str()), 2;
  }
  if (plugins.empty()) return std::fprintf(stderr, "usage: %s json_telemetry.so... [messages] [rounds]\n", argv[0]), 2;
  const auto count = static_cast<std::size_t>(!numbers.empty() ? numbers[0] : 500'000);
  const auto rounds = numbers.size() > 1 ? numbers[1] : 5;
  for (const auto& work : workloads(count)) {
    std::vector<std::vector<double>> times(plugins.size());  // of a message, in ns
    for (long i = 0; i < rounds; ++i)
      for (std::size_t p = 0; p < plugins.size(); ++p)
        times[p].push_back(1e9 / measured(*plugins[p]->components[0], work));
    for (std::size_t p = 0; p < plugins.size(); ++p) {
      std::sort(times[p].begin(), times[p].end());
      const auto median = times[p][times[p].size() / 2];
      std::printf("%-18s %4zu bytes/message  %7.0f ns (median of %ld)  lowest %7.0f", work.name,
                  work.messages[0].size(), median, rounds, times[p].front());
      if (p == 0)
        std::printf("  %6.2f M msg/s\n", 1e3 / median);
      else
        std::printf("  %6.2f of the first\n", median / times[0][times[0].size() / 2]);
    }
  }
  return 0;
}
