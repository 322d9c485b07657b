// SPDX-License-Identifier: Apache-2.0
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/unclaimed_spools.hpp"
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
  if (well_formed) warn_of_unclaimed_spools(loaded, s.uses());
  if (args.connect)
    for (const auto& p : pipelines)
      if (p) p->check(loaded.problems);
  print_problems(loaded.problems);
  if (!loaded.ok()) return well_formed ? exit_failed : exit_usage;
  for (const auto& p : pipelines)
    fmt::print("{}: ok, {}, {}, {}{}\n", p->settings().name, plural(p->settings().sources.size(), "source"),
               plural(p->settings().transforms.size(), "transform"), plural(p->settings().sinks.size(), "sink"),
               args.connect ? "; all server checks passed" : "");
  return exit_ok;
}

}  // namespace pl::host
