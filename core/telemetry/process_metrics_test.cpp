// SPDX-License-Identifier: Apache-2.0
#include "telemetry/process_metrics.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <string>
#include <thread>

using namespace pl::telemetry;

namespace {

double value_of(const std::string& name) {
  std::istringstream in(process_metrics());
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(name + " ")) return std::stod(line.substr(name.size() + 1));
  FAIL(name << " is missing");
  return 0;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

TEST_CASE("the metrics of the process have the standard names, with HELP and TYPE") {
  const auto text = process_metrics();
  for (const auto* name :
       {"process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_virtual_memory_bytes",
        "process_resident_memory_bytes", "process_start_time_seconds", "process_threads"}) {
    CAPTURE(name);
    CHECK(text.find(std::string("# HELP ") + name + " ") != std::string::npos);
    CHECK(text.find(std::string("# TYPE ") + name + " ") != std::string::npos);
    CHECK(process_metrics_markdown().find(std::string("| `") + name + "` |") != std::string::npos);
  }
}

TEST_CASE("the metrics follow the process") {
  CHECK(value_of("process_start_time_seconds") <= now() + 1);
  CHECK(value_of("process_start_time_seconds") > now() - 3600);
  CHECK(value_of("process_resident_memory_bytes") > 1 << 20);
  CHECK(value_of("process_virtual_memory_bytes") >= value_of("process_resident_memory_bytes"));

  const auto files = value_of("process_open_fds");
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(value_of("process_open_fds") == files + 1);
  ::close(fd);
  CHECK(value_of("process_open_fds") == files);
  CHECK(value_of("process_max_fds") > files);

  const auto threads = value_of("process_threads");
  {
    std::jthread idle([](const std::stop_token& stop) {
      while (!stop.stop_requested()) std::this_thread::yield();
    });
    CHECK(value_of("process_threads") == threads + 1);
  }

  const auto before = value_of("process_cpu_seconds_total");
  volatile unsigned spin = 0;
  while (value_of("process_cpu_seconds_total") < before + 0.02)
    for (unsigned i = 0; i < 100'000; ++i) spin = spin + i;
  CHECK(value_of("process_cpu_seconds_total") >= before + 0.02);
}
