// SPDX-License-Identifier: Apache-2.0
// A host for tests: builds pipelines of the test components from YAML, and keeps their log and metrics. One thread.
#pragma once

#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "engine/testing/exact_components.hpp"
#include "engine/testing/test_components.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace pl::engine::test {

class test_host {
 public:
  test_host() {
    plugins_.add_linked(test_plugin());
    plugins_.add_linked(exact_plugin());
  }

  void add(const pl_plugin& plugin) { plugins_.add_linked(plugin); }

  // Null, and `problems` says why, if the configuration has errors.
  std::unique_ptr<pipeline> build(const std::string& yaml, const pipeline* previous = nullptr) {
    const std::vector<config::file_arg> files{{"test.yaml", yaml}};
    auto loaded = config::load(files, {}, config::process_environment());
    auto built = loaded.pipelines.empty()
                     ? nullptr
                     : pipeline::build(loaded.pipelines.front(), {log_, metrics_, schemas_, &calls_}, plugins_,
                                       loaded.problems, previous);
    problems = loaded.problems.render();
    return built;
  }
  std::unique_ptr<pipeline> build(const config::pipeline& settings, const pipeline* previous) {
    config::diagnostics found;
    auto built = pipeline::build(settings, {log_, metrics_, schemas_, &calls_}, plugins_, found, previous);
    problems = found.render();
    return built;
  }
  telemetry::metrics& metrics() { return metrics_; }
  call_monitor& calls() { return calls_; }

  // Return what was logged at `info` and above. Other threads log meanwhile, where the file's offset is: it must not move.
  std::string log() {
    std::string text;
    std::array<char, 4096> part{};
    while (true) {
      const auto n = ::pread(fileno(log_file_.get()), part.data(), part.size(), static_cast<::off_t>(text.size()));
      if (n <= 0) return text;
      text.append(part.data(), static_cast<std::size_t>(n));
    }
  }
  std::string problems;

 private:
  struct closer {
    void operator()(std::FILE* f) const noexcept { (void)std::fclose(f); }
  };
  std::unique_ptr<std::FILE, closer> log_file_{std::tmpfile()};
  telemetry::logger log_{{.fd = fileno(log_file_.get())}};
  telemetry::metrics metrics_;
  schema_pool schemas_;
  call_monitor calls_;
  loader::registry plugins_{{}};
};

inline bool eventually(const std::function<bool()>& true_soon,
                       std::chrono::milliseconds patience = std::chrono::minutes(2)) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!true_soon()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace pl::engine::test
