// SPDX-License-Identifier: Apache-2.0
#include "config/describe.hpp"
#include "config/diagnostics.hpp"
#include "host/session.hpp"
#include "host/verbs.hpp"
#include "telemetry/engine_metrics.hpp"
#include "telemetry/process_metrics.hpp"

#include <pipeline/result.hpp>
#include <pipeline/text.hpp>

#include <fmt/format.h>

#include <cstdio>

namespace pl::host {

namespace {

const char* role_name(std::uint32_t role) {
  return role == PL_SOURCE ? "source" : role == PL_TRANSFORM ? "transform" : "sink";
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

void print_failures(const loader::registry& plugins) {
  for (const auto& f : plugins.failures()) fmt::print(stderr, "{}: not loaded: {}\n", f.file.string(), f.why);
}

int describe_configuration(const arguments& args) {
  const bool markdown = args.describe_as == "markdown";
  std::fputs((markdown ? config::host_options_markdown() : config::host_options_text()).c_str(), stdout);
  return exit_ok;
}

int describe_metrics() {
  std::fputs(telemetry::engine_metrics::to_markdown().c_str(), stdout);
  fmt::print("\n## The process\n\n{}", telemetry::process_metrics_markdown());
  return exit_ok;
}

std::vector<const pl_component*> all_components(loader::registry& plugins) {
  std::vector<const pl_component*> all;
  for (const auto& [name, c] : plugins.all()) all.push_back(c.component);
  return all;
}

}  // namespace

int list_plugins(const arguments& args) {
  loader::registry plugins(plugin_directories(args));
  for (const auto& [name, c] : plugins.all())
    fmt::print("{:<18} {:<10} {:<8} {}\n", name, role_name(c.component->role), view(c.plugin->version),
               first_line(view(c.component->doc)));
  print_failures(plugins);
  if (plugins.all().empty()) {
    fmt::print(stderr, "error: no plugins found in:\n");
    for (const auto& dir : plugins.directories()) fmt::print(stderr, "  {}\n", dir.string());
    fmt::print(stderr, "set --plugin-dir or PIPELINE_PLUGIN_PATH to the directory of the plugins\n");
    return exit_failed;
  }
  return exit_ok;
}

int describe_plugin(const arguments& args) {
  if (args.component == "configuration") return describe_configuration(args);
  if (args.component == "metrics") return describe_metrics();
  if (args.component == "expressions") return print_expressions(args.describe_as == "markdown");
  loader::registry plugins(plugin_directories(args));
  if (const auto* found = plugins.find(args.component)) {
    const bool markdown = args.describe_as == "markdown";
    std::fputs(
        (markdown ? config::describe_markdown(*found->component) : config::describe_text(*found->component)).c_str(),
        stdout);
    return exit_ok;
  }
  std::vector<std::string_view> names;
  for (const auto& [name, c] : plugins.all()) names.push_back(name);
  const auto guess = did_you_mean(args.component, names);
  fmt::print(stderr, "error: there is no plugin '{}'{}{}; `pipeline-host plugins` lists all plugins\n", args.component,
             guess.empty() ? "" : "; ", guess);
  print_failures(plugins);
  return exit_usage;
}

int print_schema(const arguments& args) {
  loader::registry plugins(plugin_directories(args));
  std::fputs(config::json_schema(all_components(plugins)).c_str(), stdout);
  return exit_ok;
}

}  // namespace pl::host
