// SPDX-License-Identifier: Apache-2.0
// The verb `replay` runs past records through a pipeline again while its host keeps running.
#include "config/scalars.hpp"
#include "host/dead_letter_store.hpp"
#include "host/discard_sink.hpp"
#include "host/replay_report.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

#include <pipeline/time.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using engine::instance;

namespace {

using window_list = instance::window_list;
using sink_reasons = std::map<std::string, std::string>;  // the reason why a sink is left out, by sink name

// ------------------------------------------------------------------------------------------------- the command line ---

std::optional<pl_bound> parse_bound(const std::string& text) {
  if (text == "beginning") return pl_bound{PL_BOUND_POSITION, 0, 0};
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number >= 0)
    return pl_bound{PL_BOUND_POSITION, 0, number};
  if (const auto at = parse_rfc3339(text)) return pl_bound{PL_BOUND_TIME_NS, 0, *at};
  const auto ago = config::parse_duration(text);
  if (!ago || *ago < 0) return std::nullopt;
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return pl_bound{PL_BOUND_TIME_NS, 0, now.count() - *ago};
}

std::optional<pl_bound> bound_of(std::string_view option, const std::string& text) {
  if (text.empty()) return pl_bound{PL_BOUND_NOW, 0, 0};
  const auto bound = parse_bound(text);
  if (!bound)
    print_error(
        fmt::format("{} {} is neither a time (2026-11-24, 2026-11-24T18:10:23Z, or an age such as 7d) nor an "
                    "offset",
                    option, shown(text)));
  return bound;
}

bool sinks_exist(const config::pipeline& p, const std::vector<std::string>& named) {
  std::string names;
  for (const auto& s : p.sinks) names += (names.empty() ? "" : ", ") + s.name;
  for (const auto& name : named)
    if (std::ranges::none_of(p.sinks, [&](const auto& s) { return s.name == name; })) {
      print_error(fmt::format("--sink {}: no such sink receives records of the source; sinks: {}", shown(name), names));
      return false;
    }
  return true;
}

// ------------------------------------------------------------------------------------------------- pipeline settings ---

// Isolate the run from a running host: do not touch positions in sinks, and keep locks and state in `work`.
void set_apart(config::pipeline& p, const fs::path& work) {
  p.sources.front().lanes = p.lanes = 1;
  p.delivery = config::delivery::at_least_once;
  for (auto& s : p.sinks) s.delivery.reset(), s.when_full = config::full_policy::block;  // write all that is read
  p.state_dir = (work / "state").string();
}

config::node file_node(std::string name, const config::pipeline& p, std::vector<config::value> options) {
  config::node n;
  n.role = config::role::sink;
  n.name = std::move(name);
  n.plugin = "file_sink";
  n.where = n.plugin_where = p.where;
  set_options(n, std::move(options));
  return n;
}

// Return the dead-letter file of the replay. The file is separate because a host may be writing to the pipeline's file.
fs::path dead_letters_of_replay(const config::pipeline& p) {
  const auto usual = dead_letter_files(p);
  const auto folder = usual.ok() && !usual->empty() ? usual->front().parent_path() : fs::path("dead-letters");
  return folder / (p.name + ".replay.ndjson");
}

void send_dead_letters_to(config::pipeline& p, const fs::path& file) {
  config::value unique, optional;
  unique.type = optional.type = config::value::kind::list;
  unique.key = "unique_by";
  optional.key = "unique_by_optional";
  for (const auto* column : {"pipeline", "topic", "key", "value", "headers", "record", "record_time"})
    optional.children.push_back(text_option({}, column));
  for (const auto* column : {"stream", "position", "node"}) unique.children.push_back(text_option({}, column));
  p.dead_letters =
      file_node("dead_letters", p, {text_option("path", without_braces(file)), std::move(unique), std::move(optional)});
}

// Set up a dry run: every sink only counts rows; alerts that transforms emit on any port go to a file in `work`.
void make_dry(config::pipeline& p, const fs::path& work, loader::registry& plugins) {
  plugins.add_linked(discard_sink_plugin());
  for (auto& s : p.sinks) {
    s.plugin = discard_sink_name;
    s.writers = 1;
    set_options(s, {});
  }
  for (const auto& t : p.transforms) {
    const auto* component = plugins.find(t.plugin);
    if (component == nullptr || (component->component->caps & PL_ALERTS) == 0) continue;
    auto to = file_node("alerts of " + t.name, p,
                        {text_option("path", without_braces(alerts_in(work))), text_option("fsync", "never")});
    for (const auto& port : std::span(component->component->ports, component->component->nports))
      to.from.push_back({t.name, std::string(view(port)), t.where});
    p.sinks.push_back(std::move(to));
  }
  send_dead_letters_to(p, dead_letters_in(work));
}

// Keep the named sinks or, if none is named, the sinks without duplicates after the replay. `twice`: the sinks that
// would store duplicates, with the reason.
bool choose_sinks(config::pipeline& p, const std::vector<std::string>& named, const sink_reasons& twice) {
  const auto chosen = [&](const config::node& s) {
    return named.empty() ? !twice.contains(s.name) : std::ranges::count(named, s.name) != 0;
  };
  if (std::ranges::none_of(p.sinks, chosen)) {
    std::string all;
    for (const auto& [name, why] : twice) all += fmt::format("\n  {}: {}", name, why);
    print_error(
        fmt::format("every sink would store these records twice:{}\n  name a sink with --sink to accept duplicates, or "
                    "use --dry-run",
                    all));
    return false;
  }
  for (const auto& s : p.sinks)
    if (const auto why = twice.find(s.name); !chosen(s))
      fmt::print("left out: {}{}; --sink {} includes it\n", s.name, why == twice.end() ? "" : " (" + why->second + ")",
                 s.name);
  std::erase_if(p.sinks, [&](const auto& s) { return !chosen(s); });
  keep_above_sinks(p);
  return true;
}

// ---------------------------------------------------------------------------------------------------------- windows ---

bool is_chosen(const instance::window_list::value_type& w, const replay_arguments& given) {
  const auto ends_with_number = [&](std::uint32_t n) { return w.stream.ends_with("/" + std::to_string(n)); };
  const bool stream = given.streams.empty() || std::ranges::count(given.streams, w.stream) != 0;
  return stream && (given.partitions.empty() || std::ranges::any_of(given.partitions, ends_with_number));
}

std::uint64_t records_in(const window_list& windows) {
  std::uint64_t sum = 0;
  for (const auto& w : windows) sum += w.next - w.first;
  return sum;
}

// Return nothing, after printing the reason, if the windows cannot be determined.
std::optional<window_list> find_windows(engine::pipeline& p, const replay_arguments& given) {
  const auto from = bound_of("--from", given.from);
  const auto until = from ? bound_of("--to", given.until) : std::nullopt;
  if (!until) return std::nullopt;
  auto found = p.windows(*from, *until);
  if (!found.ok()) return print_error(found.why().message), std::nullopt;
  auto& all = *found;
  std::erase_if(all, [&](const auto& w) { return !is_chosen(w, given); });
  if (all.empty()) return print_error("no partition matches --partition and --stream"), std::nullopt;
  for (const auto& w : all)
    if (from->kind == PL_BOUND_POSITION && given.from != "beginning" &&
        static_cast<std::uint64_t>(from->value) < w.oldest)
      fmt::print("{} begins at {}: earlier records are no longer retained\n", w.stream, w.oldest);
  return all;
}

void print_windows(const config::pipeline& p, const window_list& windows, std::string_view verb) {
  fmt::print("{}: {} {} of '{}'\n", p.name, verb, plural(records_in(windows), "record"), p.sources.front().name);
  std::size_t widest = 0;
  for (const auto& w : windows) widest = std::max(widest, w.stream.size());
  for (const auto& w : windows)
    fmt::print("  {:<{}}  {} to {} (retained: {} to {}): {}\n", w.stream, widest, w.first, w.next, w.oldest, w.newest,
               plural(w.next - w.first, "record"));
}

// --------------------------------------------------------------------------------------------------------------- runs ---

int reset_offsets(engine::pipeline& p, const window_list& windows, const replay_arguments& given) {
  print_windows(p.settings(), windows, "after the offset reset, the next start reads");
  if (!confirmed(given.yes, "All sinks receive these records again.")) return exit_usage;
  const auto done = p.reset_offsets(windows);
  if (!done.ok()) return print_error(done.why().message), exit_failed;
  fmt::print("offsets reset: the next start reads from there\n");
  return exit_ok;
}

int run_replay(const config::pipeline& settings, const arguments& args, const sink_reasons& twice, const fs::path& work,
               session& s, signals& incoming) {
  const auto& given = args.replay;
  config::diagnostics problems;
  auto p = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!p) return exit_usage;
  const auto windows = find_windows(*p, given);
  if (!windows) return exit_failed;
  if (given.reset_offsets) return reset_offsets(*p, *windows, given);
  const bool quiet = given.format == "ndjson";
  if (!quiet) print_windows(settings, *windows, given.dry_run ? "dry run with" : "replaying");
  const auto records = records_in(*windows);
  if (records == 0) return exit_ok;
  for (const auto& sink : settings.sinks)
    if (const auto why = twice.find(sink.name); !given.dry_run && why != twice.end())
      if (!confirmed(given.yes, fmt::format("{} will store these records twice: {}.", sink.name, why->second)))
        return exit_usage;
  if (const auto chosen = p->select(*windows); !chosen.ok()) return print_error(chosen.why().message), exit_failed;
  std::fflush(stdout);
  replay_progress progress(s.log(), records);
  const auto done = run_through(*p, incoming, s, [&](const auto& now) { progress.show(now); });
  progress.end();
  return given.dry_run ? report_dry_run(*p, done, records, work, given.format)
                       : report_replay(*p, done, records, dead_letters_of_replay(settings));
}

}  // namespace

int replay(const arguments& args) {
  signals incoming;
  const auto& given = args.replay;
  const auto loaded = load(args);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  auto chosen = choose_pipeline(loaded, given.pipeline);
  if (!chosen.ok()) return print_error(chosen.why().message), exit_usage;
  const auto source = choose_source(*chosen, given.source, "");
  if (!source.ok()) return print_error(source.why().message), exit_usage;
  auto settings = std::move(chosen).value();
  keep_below(settings, *source);
  if (!sinks_exist(settings, given.sinks)) return exit_usage;

  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  incoming.name_calls_of(s.calls());
  auto work = work_folder::make(fs::temp_directory_path() / "pipeline-replay");
  if (!work.ok()) return print_error(work.why().message), exit_failed;
  set_apart(settings, (*work)->path());

  // Build the pipeline as configured to query its nodes. It is never started.
  config::diagnostics problems;
  const auto configured = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!configured) return exit_usage;
  if (!configured->replayable())
    return print_error(fmt::format("{}: {} cannot replay past records; kafka_source can",
                                   settings.sources.front().where.to_string(), settings.sources.front().plugin)),
           exit_usage;
  sink_reasons twice;
  for (const auto& sink : settings.sinks)
    if (auto why = configured->why_not_rewritable(sink.name); !why.empty()) twice[sink.name] = std::move(why);

  if (given.dry_run)
    make_dry(settings, (*work)->path(), s.plugins());
  else if (!given.reset_offsets) {
    if (!choose_sinks(settings, given.sinks, twice)) return exit_usage;
    send_dead_letters_to(settings, dead_letters_of_replay(settings));
  }
  return run_replay(settings, args, twice, (*work)->path(), s, incoming);
}

}  // namespace pl::host
