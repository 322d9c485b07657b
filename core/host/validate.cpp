// SPDX-License-Identifier: Apache-2.0
#include "host/session.hpp"
#include "host/verbs.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace pl::host {

int validate(const arguments& args) {
  auto loaded = load(args);
  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  const auto pipelines = s.build(loaded);
  const bool well_formed = loaded.ok();
  if (args.connect)
    for (const auto& p : pipelines)
      if (p) p->check(loaded.problems);
  print_problems(loaded.problems);
  if (!loaded.ok()) return well_formed ? exit_failed : exit_usage;
  for (const auto& p : pipelines)
    fmt::print("{}: ok, {} sources, {} transforms, {} sinks{}\n", p->settings().name, p->settings().sources.size(),
               p->settings().transforms.size(), p->settings().sinks.size(),
               args.connect ? "; all servers are there and fit" : "");
  return exit_ok;
}

}  // namespace pl::host
