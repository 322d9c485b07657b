// SPDX-License-Identifier: Apache-2.0
// The verb `dead-letters retry` delivers dead letters again: rows to the sinks that refused them, and original records
// through the transforms that refused them.
#include "host/dead_letter_row_source.hpp"
#include "host/dead_letter_source.hpp"
#include "host/dead_letter_store.hpp"
#include "host/reread.hpp"
#include "host/retry_plan.hpp"
#include "host/retry_run.hpp"
#include "host/seen_sink.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/signals.hpp"
#include "host/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

bool sinks_are_valid(const config::pipeline& p, const dead_letter_arguments& given) {
  std::string names;
  for (const auto& s : p.sinks) names += (names.empty() ? "" : ", ") + s.name;
  for (const auto& name : given.sinks)
    if (std::ranges::none_of(p.sinks, [&](const auto& s) { return s.name == name; }))
      return print_error(fmt::format("--sink {}: '{}' has no such sink; sinks: {}", shown(name), p.name, names)), false;
  if (given.node.empty() || given.sinks.size() <= 1) return true;
  return print_error("with --node, name one --sink"), false;
}

bool needs_source(const retry_plan& plan) {
  return std::ranges::any_of(plan.groups, [](const auto& g) { return g.what == retried::record; });
}

void print_group(const retry_group& g, const std::string& pipeline, const std::string& source) {
  const auto letters = fmt::format("from {} of '{}'", plural(g.letters(), "dead letter"), shown(g.node));
  if (g.what == retried::record)
    fmt::print("{}: {} to retry in place of '{}'{}, {}\n", pipeline, plural(g.items.size(), "record"), source,
               g.at_sink ? ", for this sink alone" : "", letters);
  else
    fmt::print("{}: {} to {} '{}', {}\n", pipeline, plural(g.items.size(), "row"),
               g.at_sink ? "deliver to sink" : "retry at transform", g.node, letters);
}

void print_plan(const retry_plan& plan, const config::pipeline& p, const std::string& source) {
  for (const auto& g : plan.groups) print_group(g, p.name, source);
  if (plan.groups.empty()) fmt::print("{}: 0 records to retry\n", p.name);
  for (const auto& [node, n] : plan.of_unknown_nodes)
    if (p.find(node) != nullptr)
      fmt::print("left out: {} of '{}', which no record of source '{}' reaches\n", plural(n, "dead letter"),
                 shown(node), source);
    else
      fmt::print(
          "left out: {} of '{}', which is not a node of this pipeline; to retry, pass --node {} (through the "
          "whole pipeline), or also --sink NAME (to this sink alone)\n",
          plural(n, "dead letter"), shown(node), shown(node));
  if (plan.without_original != 0)
    fmt::print("left out: {} without the original record\n", plural(plan.without_original, "dead letter"));
  if (plan.collapsed != 0)
    fmt::print(
        "left out: {} whose originals are not in the dead letters, because too many were rejected for one reason "
        "(dead_letters.collapse); `dead-letters list --each` shows their positions; if '{}' still has them, `replay` "
        "reads them again\n",
        plural(plan.collapsed, "record"), source);
}

// Return what happens if the user confirms.
std::string question(const retry_plan& plan) {
  std::string sinks;
  std::set<std::string> named;  // a sink may have several groups
  for (const auto& g : plan.groups)
    if (g.at_sink && named.insert(g.node).second) sinks += (sinks.empty() ? "" : ", ") + g.node;
  std::string text;
  if (!sinks.empty()) text = fmt::format("Rows are delivered to {}.", sinks);
  if (std::ranges::any_of(plan.groups, [](const auto& g) { return !g.at_sink; }))
    text += std::string(text.empty() ? "" : " ") + "Sinks that have already stored these records receive them again.";
  return text;
}

std::string stored_text(const retry_outcome& done) {
  std::uint64_t rows = 0;
  std::string each;
  for (const auto& [sink, n] : done.stored) {
    rows += n;
    each += fmt::format("{}{} {}", each.empty() ? ": " : ", ", sink, telemetry::format_count(n));
  }
  return fmt::format("{} stored{}", plural(rows, "row"), done.stored.size() > 1 ? each : "");
}

void print_outcome(const retry_group& g, const retry_outcome& done, const std::vector<fs::path>& files) {
  const auto items = [&](std::uint64_t n) { return plural(n, g.what == retried::row ? "row" : "record"); };
  if (g.what == retried::row && g.at_sink)
    fmt::print("{}: {} delivered, {} rejected again\n", g.node, items(done.delivered), done.rejected);
  else
    fmt::print("{} delivered ({}), {} rejected again\n", items(done.delivered), stored_text(done), done.rejected);
  if (done.without_row != 0)
    fmt::print("{} made no row for a sink{}\n", items(done.without_row),
               g.at_sink ? "; the dead letters stay in place" : "");
  if (done.not_tried != 0)
    fmt::print("stopped: {} not retried; the dead letters stay in place\n", items(done.not_tried));
  if (done.delivered != 0)
    for (const auto& f : files)
      fmt::print("the dead letters of the delivered {} are now in {}\n", g.what == retried::row ? "rows" : "records",
                 retried_name(f).string());
  if (done.rejected != 0)
    fmt::print("the rejected {} have new dead letters, with the new reasons, in {}\n",
               g.what == retried::row ? "rows" : "records", files.front().string());
}

// Return the source that a group's records replace, or that its rows came from.
std::string source_of(const config::pipeline& p, const retry_group& g, const std::string& chosen) {
  if (g.what == retried::record || leads_to(p, chosen, g.node)) return chosen;
  const auto from = std::ranges::find_if(p.sources, [&](const auto& s) { return leads_to(p, s.name, g.node); });
  return from == p.sources.end() ? chosen : from->name;
}

// Run one group after the other, so that the dead letters of a group are settled even if the next one fails.
int run_plan(const retry_plan& plan, const config::pipeline& settings, const std::string& source,
             const std::vector<fs::path>& files, const dead_letter_arguments& given, session& s, signals& incoming) {
  for (const auto& plugin : {dead_letter_source_plugin, dead_letter_row_source_plugin, seen_sink_plugin})
    s.plugins().add_linked(plugin());
  int code = exit_ok;
  for (const auto& g : plan.groups) {
    const auto only = given.node.empty() ? std::vector<std::string>{} : given.sinks;
    const auto done = run_group(settings, source_of(settings, g, source), only, g, files, s, incoming);
    if (done.code != exit_ok) return done.code;
    print_outcome(g, done, files);
    if (done.rejected != 0 || (g.at_sink && done.without_row != 0)) code = exit_failed;
    if (done.stopped) break;
  }
  return code;
}

// Read the original records of shortened dead letters from the source again, and add them to the plan. Return whether
// this was possible for all of them.
bool add_shortened(retry_planner& planner, std::vector<shortened_letter>& shortened, const config::pipeline& settings,
                   const std::string& source, session& s, signals& incoming) {
  if (shortened.empty()) return true;
  fmt::print("{}: reading the original records of {} from '{}' again\n", settings.name,
             plural(shortened.size(), "shortened dead letter"), source);
  reread_originals(settings, source, shortened, s, incoming);
  bool all = true;
  for (const auto& l : shortened) {
    if (!l.whole.empty()) {
      planner.add(l.letter, l.line, l.whole);
      continue;
    }
    all = false;
    print_error(
        fmt::format("{}@{} was shortened, and its original record cannot be read again: {}; the dead letter "
                    "stays in place",
                    shown(l.letter.stream), l.letter.position.value_or(0), l.why_not));
  }
  return all;
}

}  // namespace

int retry_dead_letters(const arguments& args) {
  signals incoming;
  const auto& given = args.dead_letters;
  const auto filter = filter_of(given);
  if (!filter) return exit_usage;
  const auto loaded = load(args);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  const auto settings = choose_pipeline(loaded, given.pipeline);
  if (!settings.ok()) return print_error(settings.why().message), exit_usage;
  const auto files = dead_letter_files(*settings);
  if (!files.ok()) return print_error(files.why().message), exit_usage;
  if (!sinks_are_valid(*settings, given)) return exit_usage;
  const auto chosen =
      choose_source(*settings, given.source,
                    ", and a dead letter does not name its source (select the source's dead letters with --stream)");
  if (!chosen.ok() && !given.source.empty()) return print_error(chosen.why().message), exit_usage;
  const auto source = chosen.ok() ? *chosen : settings->sources.front().name;

  auto reached = *settings;
  if (chosen.ok()) keep_below(reached, source);
  retry_planner planner(reached, given.node, given.sinks);
  std::vector<shortened_letter> shortened;
  const bool read =
      each_dead_letter({place_of(settings->name, *files)}, *filter, [&](const dead_letter& l, std::string_view line) {
        if (l.needs_source())
          shortened.push_back({l, std::string(line), {}, {}});
        else
          planner.add(l, line);
      });
  if (!read) return exit_usage;
  if (!chosen.ok() && !shortened.empty()) return print_error(chosen.why().message), exit_usage;

  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  incoming.name_calls_of(s.calls());
  const bool complete = add_shortened(planner, shortened, *settings, source, s, incoming);
  const auto plan = planner.finish();
  if (!chosen.ok() && needs_source(plan)) return print_error(chosen.why().message), exit_usage;
  print_plan(plan, *settings, source);
  if (given.dry_run || plan.groups.empty()) return complete ? exit_ok : exit_failed;
  if (!confirmed(given.yes, question(plan))) return exit_usage;
  const int done = run_plan(plan, *settings, source, *files, given, s, incoming);
  return done == exit_ok && !complete ? exit_failed : done;
}

}  // namespace pl::host
