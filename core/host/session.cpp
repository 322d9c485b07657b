// SPDX-License-Identifier: Apache-2.0
#include "host/session.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace pl::host {

session::session(const arguments& args, const telemetry::log_options& log)
    : log_(log), plugins_(plugin_directories(args)) {}

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

std::vector<std::unique_ptr<engine::pipeline>> session::build(
    config::load_result& loaded, const std::vector<std::unique_ptr<engine::pipeline>>& running) {
  std::vector<std::unique_ptr<engine::pipeline>> built;
  for (const auto& settings : loaded.pipelines) {
    const auto old = std::find_if(running.begin(), running.end(),
                                  [&](const auto& p) { return p->settings().name == settings.name; });
    built.push_back(engine::pipeline::build(settings, services(), plugins_, loaded.problems,
                                            old == running.end() ? nullptr : old->get()));
  }
  // A plugin that is missing may be one of these.
  if (!loaded.ok() && !loaded.pipelines.empty())
    for (const auto& f : plugins_.failures())
      loaded.problems.warning(loaded.pipelines.front().where,
                              fmt::format("{} was not loaded: {}", f.file.string(), f.why));
  return built;
}

bool wants_color(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0');
}

void print_problems(const config::diagnostics& problems) {
  std::fputs(problems.render(wants_color(STDERR_FILENO)).c_str(), stderr);
}

}  // namespace pl::host
