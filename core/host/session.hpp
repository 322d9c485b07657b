// SPDX-License-Identifier: Apache-2.0
// Shared services of the verbs: plugins, log, metrics, and pipelines built from the configuration.
#pragma once

#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "host/arguments.hpp"
#include "host/call_watch.hpp"
#include "loader/registry.hpp"

#include <memory>
#include <vector>

namespace pl::host {

// Owns the services and must outlive all pipelines. Main thread only.
class session {
 public:
  session(const arguments& args, const telemetry::log_options& log);

  [[nodiscard]] engine::services services() noexcept { return {log_, metrics_, schemas_, calls_.get()}; }
  [[nodiscard]] std::shared_ptr<const engine::call_monitor> calls() const noexcept { return calls_; }
  [[nodiscard]] telemetry::logger& log() noexcept { return log_; }
  [[nodiscard]] telemetry::metrics& metrics() noexcept { return metrics_; }
  [[nodiscard]] loader::registry& plugins() noexcept { return plugins_; }

  // Build every configured pipeline; an entry is null if its pipeline has errors. `running`: the pipelines to replace,
  // matched by name.
  std::vector<std::unique_ptr<engine::pipeline>> build(
      config::load_result& loaded, const std::vector<std::unique_ptr<engine::pipeline>>& running = {});

  // Return what the instances that the last `build` created use exclusively.
  [[nodiscard]] const std::vector<engine::exclusive_use>& uses() const noexcept { return uses_; }

 private:
  void check_uses(const std::vector<std::unique_ptr<engine::pipeline>>& built, config::diagnostics& problems);

  telemetry::logger log_;
  telemetry::metrics metrics_;
  engine::schema_pool schemas_;
  const std::shared_ptr<engine::call_monitor> calls_ = std::make_shared<engine::call_monitor>();
  const call_watch watch_;
  loader::registry plugins_;
  std::vector<engine::exclusive_use> uses_;
};

config::load_result load(const arguments& args);
std::vector<std::filesystem::path> plugin_directories(const arguments& args);

// Return the log options of the configuration; the command line overrides them.
telemetry::log_options log_options(const arguments& args, const config::load_result& loaded);

// Print to stderr, in color if stderr is a terminal and NO_COLOR is not set.
void print_problems(const config::diagnostics& problems);
[[nodiscard]] bool use_color(int fd);

}  // namespace pl::host
