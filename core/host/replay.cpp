// SPDX-License-Identifier: Apache-2.0
// replay: a part of the past through the pipeline again, beside the host that runs it.
#include "config/scalars.hpp"
#include "host/discard_sink.hpp"
#include "host/letters.hpp"
#include "host/replay_report.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

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
using sink_reasons = std::map<std::string, std::string>;  // why a sink is left out, by its name

// ------------------------------------------------------------------------------------------------- the command line ---

std::optional<pl_bound> parse_bound(const std::string& text) {
  if (text == "beginning") return pl_bound{PL_BOUND_POSITION, 0, 0};
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number >= 0)
    return pl_bound{PL_BOUND_POSITION, 0, number};
  if (const auto at = parse_time(text)) return pl_bound{PL_BOUND_TIME_NS, 0, *at};
  const auto ago = config::parse_duration(text);
  if (!ago || *ago < 0) return std::nullopt;
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return pl_bound{PL_BOUND_TIME_NS, 0, now.count() - *ago};
}

std::optional<pl_bound> bound_of(std::string_view option, const std::string& text) {
  if (text.empty()) return pl_bound{PL_BOUND_NOW, 0, 0};
  const auto bound = parse_bound(text);
  if (!bound)
    say_error(
        fmt::format("{} {} is neither a time (2026-11-24, 2026-11-24T18:10:23Z, 7d for that long ago) nor an "
                    "offset",
                    option, shown(text)));
  return bound;
}

bool sinks_exist(const config::pipeline& p, const std::vector<std::string>& named) {
  std::string names;
  for (const auto& s : p.sinks) names += (names.empty() ? "" : ", ") + s.name;
  for (const auto& name : named)
    if (std::ranges::none_of(p.sinks, [&](const auto& s) { return s.name == name; })) {
      say_error(fmt::format("--sink {}: the source reaches no such sink; it reaches: {}", shown(name), names));
      return false;
    }
  return true;
}

// ------------------------------------------------------------------------------------------------- what is built up ---

bool is_alert(const config::node& n) { return n.plugin.ends_with("_alert"); }

// Positions in sinks are not touched, and locks and memories of a host that runs stay that host's.
void set_apart(config::pipeline& p, const fs::path& work) {
  p.sources.front().lanes = p.lanes = 1;
  p.delivery = config::delivery::at_least_once;
  for (auto& s : p.sinks) s.delivery.reset();
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

// Letters of a replay have a file of their own: the host may be writing to the other one.
fs::path letters_of_replay(const config::pipeline& p) {
  const auto usual = letter_files(p);
  const auto folder = usual.ok() && !usual->empty() ? usual->front().parent_path() : fs::path("dead-letters");
  return folder / (p.name + ".replay.ndjson");
}

void send_letters_to(config::pipeline& p, const fs::path& file) {
  config::value unique;
  unique.type = config::value::kind::list;
  unique.key = "unique_by";
  for (const auto* column : {"stream", "position", "node"}) unique.children.push_back(text_option({}, column));
  p.dead_letters = file_node("dead_letters", p, {text_option("path", without_braces(file)), std::move(unique)});
}

// A dry run: every sink only counts, and what alert nodes emit, on whichever port, goes to a file of ours.
void make_dry(config::pipeline& p, const fs::path& work, loader::registry& plugins) {
  plugins.add_linked(discard_sink_plugin());
  for (auto& s : p.sinks) {
    s.plugin = discard_sink_name;
    s.writers = 1;
    set_options(s, {});
  }
  for (const auto& t : p.transforms) {
    const auto* component = is_alert(t) ? plugins.find(t.plugin) : nullptr;
    if (component == nullptr) continue;
    auto to = file_node("alerts of " + t.name, p,
                        {text_option("path", without_braces(alerts_in(work))), text_option("fsync", "never")});
    for (const auto& port : std::span(component->component->ports, component->component->nports))
      to.from.push_back({t.name, std::string(view(port)), t.where});
    p.sinks.push_back(std::move(to));
  }
  send_letters_to(p, letters_in(work));
}

// Which sinks the records go to: those that were named, or all that have each record once afterwards.
bool choose_sinks(config::pipeline& p, const std::vector<std::string>& named, const sink_reasons& twice) {
  const auto chosen = [&](const config::node& s) {
    return named.empty() ? !twice.contains(s.name) : std::ranges::count(named, s.name) != 0;
  };
  if (std::ranges::none_of(p.sinks, chosen)) {
    std::string all;
    for (const auto& [name, why] : twice) all += fmt::format("\n  {}: {}", name, why);
    say_error(
        fmt::format("every sink would have these records twice:{}\n  or name one with --sink to have them twice, or "
                    "look with --dry-run",
                    all));
    return false;
  }
  for (const auto& s : p.sinks)
    if (const auto why = twice.find(s.name); !chosen(s))
      fmt::print("left out: {}{}; --sink {} sends to it, too\n", s.name,
                 why == twice.end() ? "" : " (" + why->second + ")", s.name);
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

// Nothing, and it was said why, where the windows can't be had.
std::optional<window_list> find_windows(engine::pipeline& p, const replay_arguments& given) {
  const auto from = bound_of("--from", given.from);
  const auto until = from ? bound_of("--to", given.until) : std::nullopt;
  if (!until) return std::nullopt;
  window_list all;
  if (const auto found = p.windows(*from, *until, all); !found.ok()) return say_error(found.text()), std::nullopt;
  std::erase_if(all, [&](const auto& w) { return !is_chosen(w, given); });
  if (all.empty()) return say_error("there is no such partition (--partition, --stream)"), std::nullopt;
  for (const auto& w : all)
    if (from->kind == PL_BOUND_POSITION && given.from != "beginning" &&
        static_cast<std::uint64_t>(from->value) < w.oldest)
      fmt::print("{} begins at {}: what was before is not kept any more\n", w.stream, w.oldest);
  return all;
}

void print_windows(const config::pipeline& p, const window_list& windows, std::string_view verb) {
  fmt::print("{}: {} {} of '{}'\n", p.name, verb, plural(records_in(windows), "record"), p.sources.front().name);
  std::size_t widest = 0;
  for (const auto& w : windows) widest = std::max(widest, w.stream.size());
  for (const auto& w : windows)
    fmt::print("  {:<{}}  {} to {} (of {} to {}): {}\n", w.stream, widest, w.first, w.next, w.oldest, w.newest,
               telemetry::format_count(w.next - w.first));
}

// --------------------------------------------------------------------------------------------------------------- runs ---

int order(engine::pipeline& p, const window_list& windows, const replay_arguments& given) {
  print_windows(p.settings(), windows, "from there on the next start reads");
  if (!confirmed(given.yes, "All sinks get these records again.")) return exit_usage;
  const auto done = p.order(windows);
  if (!done.ok()) return say_error(done.text()), exit_failed;
  fmt::print("done: the next start begins there\n");
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
  if (given.order) return order(*p, *windows, given);
  const bool quiet = given.format == "ndjson";
  if (!quiet) print_windows(settings, *windows, given.dry_run ? "a dry run through" : "once more");
  const auto records = records_in(*windows);
  if (records == 0) return exit_ok;
  for (const auto& sink : settings.sinks)
    if (const auto why = twice.find(sink.name); !given.dry_run && why != twice.end())
      if (!confirmed(given.yes, fmt::format("{} will have them twice: {}.", sink.name, why->second))) return exit_usage;
  if (const auto chosen = p->choose(*windows); !chosen.ok()) return say_error(chosen.text()), exit_failed;
  std::fflush(stdout);
  replay_progress progress(s.log(), records);
  const auto done = run_through(*p, incoming, s, [&](const auto& now) { progress.show(now); });
  progress.end();
  return given.dry_run ? report_dry_run(*p, done, work, given.format)
                       : report_replay(*p, done, records, letters_of_replay(settings));
}

}  // namespace

int replay(const arguments& args) {
  signals incoming;
  const auto& given = args.replay;
  const auto loaded = load(args);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  auto chosen = choose_pipeline(loaded, given.pipeline);
  if (!chosen.ok()) return say_error(chosen.why().message), exit_usage;
  const auto source = choose_source(*chosen, given.source, "");
  if (!source.ok()) return say_error(source.why().message), exit_usage;
  auto settings = std::move(chosen).value();
  keep_below(settings, *source);
  if (!sinks_exist(settings, given.sinks)) return exit_usage;

  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  auto work = work_folder::make(fs::temp_directory_path() / "pipeline-replay");
  if (!work.ok()) return say_error(work.why().message), exit_failed;
  set_apart(settings, (*work)->path());

  // As it is configured, to ask its nodes; nothing of it is started.
  config::diagnostics problems;
  const auto asked = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!asked) return exit_usage;
  if (!asked->replayable())
    return say_error(fmt::format("{}: {} can't read its past again beside the host; kafka_source can",
                                 settings.sources.front().where.to_string(), settings.sources.front().plugin)),
           exit_usage;
  sink_reasons twice;
  for (const auto& sink : settings.sinks)
    if (auto why = asked->why_not_rewritable(sink.name); !why.empty()) twice[sink.name] = std::move(why);

  if (given.dry_run)
    make_dry(settings, (*work)->path(), s.plugins());
  else if (!given.order) {
    if (!choose_sinks(settings, given.sinks, twice)) return exit_usage;
    send_letters_to(settings, letters_of_replay(settings));
  }
  return run_replay(settings, args, twice, (*work)->path(), s, incoming);
}

}  // namespace pl::host
