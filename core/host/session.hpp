// SPDX-License-Identifier: Apache-2.0
// What every verb needs: plugins, logs, metrics, and the configuration loaded into pipelines.
#pragma once

#include "config/load.hpp"
#include "engine/pipeline.hpp"
#include "host/arguments.hpp"
#include "loader/registry.hpp"

#include <memory>
#include <vector>

namespace pl::host {

// Lives as long as the process does its work. Main thread only.
class session {
 public:
  session(const arguments& args, const telemetry::log_options& log);

  [[nodiscard]] engine::services services() noexcept { return {log_, metrics_, schemas_}; }
  [[nodiscard]] telemetry::logger& log() noexcept { return log_; }
  [[nodiscard]] telemetry::metrics& metrics() noexcept { return metrics_; }
  [[nodiscard]] loader::registry& plugins() noexcept { return plugins_; }

  // Every configured pipeline, built, or null where it has errors; running: those that they replace, by name.
  std::vector<std::unique_ptr<engine::pipeline>> build(
      config::load_result& loaded, const std::vector<std::unique_ptr<engine::pipeline>>& running = {});

 private:
  telemetry::logger log_;
  telemetry::metrics metrics_;
  engine::schema_pool schemas_;
  loader::registry plugins_;
};

config::load_result load(const arguments& args);
loader::registry make_registry(const arguments& args);
std::vector<std::filesystem::path> plugin_directories(const arguments& args);

// What the configuration says about logs, unless the command line says otherwise.
telemetry::log_options log_options(const arguments& args, const config::load_result& loaded);

// To stderr; colored where it is a terminal and NO_COLOR isn't set.
void print_problems(const config::diagnostics& problems);
bool wants_color(int fd);

}  // namespace pl::host
