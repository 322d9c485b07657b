// SPDX-License-Identifier: Apache-2.0
#include "host/session.hpp"

#include "host/emergency_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace pl::host {

session::session(const arguments& args, const telemetry::log_options& log)
    : log_(log), watch_(calls_, log_), plugins_(plugin_directories(args)) {
  set_emergency_format(log.format == telemetry::log_format::json);
}

std::vector<std::filesystem::path> plugin_directories(const arguments& args) {
  std::vector<std::filesystem::path> directories(args.plugin_dirs.begin(), args.plugin_dirs.end());
  std::error_code unknown;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  auto defaults = loader::default_directories(program, std::getenv("PIPELINE_PLUGIN_PATH"));
  std::move(defaults.begin(), defaults.end(), std::back_inserter(directories));
  return directories;
}

config::load_result load(const arguments& args) {
  std::vector<config::file_arg> files;
  files.reserve(args.configs.size());
  for (const auto& name : args.configs) files.push_back({name, std::nullopt});
  return config::load(files, args.sets, config::process_environment());
}

telemetry::log_options log_options(const arguments& args, const config::load_result& loaded) {
  telemetry::log_options options;
  if (!loaded.pipelines.empty()) {
    const auto& from = loaded.pipelines.front().log;
    options.level = telemetry::to_log_level(from.level);
    options.format =
        from.format == config::log_format::json ? telemetry::log_format::json : telemetry::log_format::text;
  }
  if (args.log_level) options.level = telemetry::parse_log_level(*args.log_level).value_or(options.level);
  if (args.log_format) options.format = telemetry::parse_log_format(*args.log_format).value_or(options.format);
  return options;
}

void session::check_uses(const std::vector<std::unique_ptr<engine::pipeline>>& built, config::diagnostics& problems) {
  uses_.clear();
  for (const auto& p : built) std::ranges::move(p->exclusive_uses(), std::back_inserter(uses_));
  engine::check_exclusive(uses_, problems);
}

std::vector<std::unique_ptr<engine::pipeline>> session::build(
    config::load_result& loaded, const std::vector<std::unique_ptr<engine::pipeline>>& running) {
  std::vector<std::unique_ptr<engine::pipeline>> built;
  for (const auto& settings : loaded.pipelines) {
    const auto old = std::find_if(running.begin(), running.end(),
                                  [&](const auto& p) { return p->settings().name == settings.name; });
    built.push_back(engine::pipeline::build(settings, services(), plugins_, loaded.problems,
                                            old == running.end() ? nullptr : old->get()));
  }
  if (loaded.ok()) check_uses(built, loaded.problems);
  // Report the libraries that failed to load: one of them may contain a missing plugin.
  if (!loaded.ok() && !loaded.pipelines.empty())
    for (const auto& f : plugins_.failures())
      loaded.problems.warning(loaded.pipelines.front().where,
                              fmt::format("{} was not loaded: {}", f.file.string(), f.why));
  return built;
}

bool use_color(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0');
}

void print_problems(const config::diagnostics& problems) {
  std::fputs(problems.render(use_color(STDERR_FILENO)).c_str(), stderr);
}

}  // namespace pl::host
