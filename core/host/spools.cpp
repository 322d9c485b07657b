// SPDX-License-Identifier: Apache-2.0
// The verb `spools`: lists the spools of sources, and moves those that no source reads to a source.
#include "host/dead_letter.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/unclaimed_spools.hpp"
#include "host/verbs.hpp"

#include <pipeline/json.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

using built_pipelines = std::vector<std::unique_ptr<engine::pipeline>>;

// What both verbs need: the configuration, its pipelines (created, not started), and what they use.
struct configuration {
  config::load_result loaded;
  std::unique_ptr<session> services;
  built_pipelines built;
};

std::optional<configuration> build(const arguments& args) {
  configuration c{load(args), nullptr, {}};
  auto log = log_options(args, c.loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  c.services = std::make_unique<session>(args, log);
  c.built = c.services->build(c.loaded);
  print_problems(c.loaded.problems);
  if (!c.loaded.ok()) return std::nullopt;
  return c;
}

// ------------------------------------------------------------------------------------------------------------- list ---

std::string state_of(const spool::spool_info& s, const std::optional<spool_reader>& reader) {
  if (reader) return fmt::format("read by {}/{}", reader->pipeline, reader->source);
  if (s.in_use) return "open in another process";
  return s.unsettled == 0 ? "no source reads it; empty" : "NO SOURCE READS IT";
}

void print_text(const spool::spool_info& s, const std::optional<spool_reader>& reader) {
  fmt::print("{}  {}, {} bytes  {}{}\n", shown(s.folder.string()), plural(s.unsettled, "unsettled record"), s.bytes,
             state_of(s, reader), s.plugin.empty() ? "" : fmt::format(" ({})", s.plugin));
}

void print_ndjson(const spool::spool_info& s, const std::optional<spool_reader>& reader) {
  std::string line = "{\"folder\":";
  const auto add = [&](std::string_view key, std::string_view text) {
    line.append(",\"").append(key).append("\":");
    append_json_string(line, text);
  };
  append_json_string(line, s.folder.string());
  add("pipeline", s.pipeline);
  add("source", s.source);
  add("plugin", s.plugin);
  add("stream", s.stream);
  line += fmt::format(",\"settled\":{},\"unsettled\":{},\"bytes\":{},\"in_use\":{}", s.settled, s.unsettled, s.bytes,
                      s.in_use);
  if (reader) add("read_by", reader->pipeline + "/" + reader->source);
  fmt::print("{}}}\n", line);
}

// ------------------------------------------------------------------------------------------------------------ adopt ---

bool same_folder(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

// Return the spools to move: those that were named, or all with unsettled records that no source reads.
result<std::vector<spool::spool_info>> choose_spools(const configuration& c, const std::vector<std::string>& folders) {
  if (folders.empty()) return find_unclaimed(c.loaded.pipelines, c.services->uses());
  auto unclaimed = all_spools(c.loaded.pipelines);
  std::erase_if(unclaimed, [&](const auto& s) { return reader_of(s, c.services->uses()).has_value(); });
  std::vector<spool::spool_info> chosen;
  for (const auto& folder : folders) {
    const auto at = std::ranges::find_if(unclaimed, [&](const auto& s) { return same_folder(s.folder, folder); });
    if (at == unclaimed.end())
      return fatal(
          fmt::format("{} is not a spool that no source reads; `spools list` shows the spools", shown(folder)));
    chosen.push_back(*at);
  }
  return chosen;
}

// Return the source that is to read the spool: the named one, or the only one with a spool of the same plugin.
result<spool_reader> choose_reader(const spool::spool_info& s, const configuration& c, const spool_arguments& args) {
  std::vector<spool_reader> fit;
  std::string names;
  for (const auto& use : c.services->uses()) {
    const bool named =
        (args.pipeline.empty() || use.pipeline == args.pipeline) && (args.source.empty() || use.node == args.source);
    if (use.kind != PL_EXCLUSIVE_SPOOL || !named || (!s.plugin.empty() && use.plugin != s.plugin)) continue;
    if (!fit.empty() && fit.back().pipeline == use.pipeline && fit.back().source == use.node) continue;  // another lane
    fit.push_back({use.pipeline, use.node});
    names += (names.empty() ? "" : ", ") + use.pipeline + "/" + use.node;
  }
  if (fit.size() == 1) return fit.front();
  const auto what = s.plugin.empty() ? std::string("a spool") : "records of " + s.plugin;
  if (fit.empty())
    return fatal(fmt::format("no source {}can read {}, which holds {}",
                             args.source.empty() ? "of this configuration " : "'" + shown(args.source) + "' that ",
                             shown(s.folder.string()), what));
  return fatal(fmt::format("several sources can read {}; choose one with --source, and --pipeline: {}",
                           shown(s.folder.string()), names));
}

engine::pipeline& pipeline_of(const configuration& c, const std::string& name) {
  return **std::ranges::find_if(c.built, [&](const auto& p) { return p->settings().name == name; });
}

// If the source continues the spool's stream, move the state of transforms too: windows, open alerts. State in a sink
// cannot be moved.
result<void> adopt_state(const spool::spool_info& s, const spool_reader& to, engine::pipeline& from,
                         engine::pipeline& target) {
  const auto state = from.stored_state(to.source, s.source, s.stream);
  if (!state.ok()) return state.why();
  const auto entries = std::ranges::count_if(*state, [](const auto& c) { return !c.node.empty(); });
  if (entries == 0) return {};
  const auto what = fmt::format("{} entr{} of the state of transforms", entries, entries == 1 ? "y" : "ies");
  const auto& settings = target.settings();
  const bool continues = spool::is_unstarted(s.folder, spool::source_folder(settings.state_dir, to.pipeline, to.source),
                                             settings.find(to.source)->lanes);
  const auto moved = continues ? target.adopt_state(to.source, *state) : result<bool>(false);
  if (!moved.ok()) return moved.why();
  if (*moved) {
    fmt::print("{} moved, too: open alerts and windows continue\n", what);
    return from.delete_state(to.source, s.source, *state);
  }
  fmt::print(
      "{} cannot be moved, because {}: rules and windows start anew, and open alerts of the source '{}' are not "
      "resolved\n",
      what,
      continues ? "a sink keeps it"
                : fmt::format("the source '{}' was started before its spool was adopted", to.source),
      shown(s.source));
  return {};
}

// Sinks that keep positions may have records of the spool that are not settled here, because the host was killed. Store
// their positions for the new source, so that no record is stored twice.
result<void> adopt_positions(const spool::spool_info& s, const spool_reader& to, configuration& c) {
  auto& target = pipeline_of(c, to.pipeline);
  auto old = std::unique_ptr<engine::pipeline>();
  if (s.pipeline != to.pipeline) {
    auto settings = target.settings();
    settings.name = s.pipeline;
    config::diagnostics ignored;
    old = engine::pipeline::build(settings, c.services->services(), c.services->plugins(), ignored);
    if (!old)
      return fatal(fmt::format("'{}' is not a valid name for the pipeline of {}", s.pipeline, s.folder.string()));
  }
  auto& from = old ? *old : target;
  const auto known = from.positions(to.source, s.source, s.stream);
  if (!known.ok()) return known.why();
  if (auto adopted = target.adopt_positions(to.source, s.stream, *known); !adopted.ok()) return adopted;
  return adopt_state(s, to, from, target);
}

result<fs::path> adopt(const spool::spool_info& s, const spool_reader& to, configuration& c) {
  const auto lock = spool::lock_spool(s.folder);
  if (!lock.ok()) return lock.why();
  if (auto r = adopt_positions(s, to, c); !r.ok()) return r.why();
  const auto& settings = pipeline_of(c, to.pipeline).settings();
  return spool::move_spool(s.folder, spool::source_folder(settings.state_dir, to.pipeline, to.source),
                           settings.find(to.source)->lanes);
}

}  // namespace

int list_spools(const arguments& args) {
  const auto c = build(args);
  if (!c) return exit_usage;
  const auto all = all_spools(c->loaded.pipelines);
  if (all.empty()) fmt::print(stderr, "no spools\n");
  for (const auto& s : all) {
    const auto reader = reader_of(s, c->services->uses());
    args.spools.format == "ndjson" ? print_ndjson(s, reader) : print_text(s, reader);
  }
  return exit_ok;
}

int adopt_spools(const arguments& args) {
  auto c = build(args);
  if (!c) return exit_usage;
  const auto spools = choose_spools(*c, args.spools.folders);
  if (!spools.ok()) return print_error(spools.why().message), exit_usage;
  if (spools->empty()) return fmt::print(stderr, "every spool with unsettled records is read by a source\n"), exit_ok;
  std::vector<spool_reader> readers;
  for (const auto& s : *spools) {
    const auto reader = choose_reader(s, *c, args.spools);
    if (!reader.ok()) return print_error(reader.why().message), exit_usage;
    readers.push_back(*reader);
    fmt::print("{}: {} of {}/{}, for {}/{}\n", shown(s.folder.string()), plural(s.unsettled, "unsettled record"),
               s.pipeline, s.source, reader->pipeline, reader->source);
  }
  if (args.spools.dry_run) return exit_ok;
  if (!confirmed(args.spools.yes, "These sources read the records of the spools in addition to their own."))
    return exit_usage;
  for (std::size_t i = 0; i < spools->size(); ++i) {
    const auto moved = adopt((*spools)[i], readers[i], *c);
    if (!moved.ok()) return print_error(moved.why().message), exit_failed;
    fmt::print("moved to {}\n", shown(moved->string()));
  }
  fmt::print("a running host reads the records within a few seconds; otherwise the next start does\n");
  return exit_ok;
}

}  // namespace pl::host
