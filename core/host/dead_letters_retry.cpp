// SPDX-License-Identifier: Apache-2.0
// dead-letters retry: the originals of letters through the pipeline again.
#include "host/letter_places.hpp"
#include "host/letters_rewrite.hpp"
#include "host/letters_source.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/signals.hpp"
#include "host/verbs.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

// Where records came from before they had names: letters without a stream or a position.
constexpr std::string_view nameless_stream = "dead-letters";

using record_id = std::pair<std::string, std::uint64_t>;  // stream and position

// Letters that were chosen, and the records to put through: several letters may be about one record.
struct selection {
  std::unordered_map<std::string, record_id> lines;  // of the letters' files
  std::map<record_id, const std::string*>
      records;  // one of these lines each, in the order in which they are put through
  std::uint64_t without_original = 0;
  std::map<std::string, std::uint64_t> of_other_nodes;
};

// In the folder of this run.
fs::path records_in(const fs::path& work) { return work / "records.ndjson"; }
fs::path rejected_in(const fs::path& work) { return work / "rejected.ndjson"; }

// The same pipeline, with the letters in the place of the source. Positions in sinks are not touched: at_least_once.
config::pipeline for_retry(config::pipeline p, const std::string& source, const fs::path& work) {
  keep_below(p, source);
  auto& from = p.sources.front();
  from.plugin = letters_source_name;
  from.lanes = p.lanes = 1;
  set_options(from, {text_option("path", records_in(work).string())});
  p.delivery = config::delivery::at_least_once;
  for (auto& s : p.sinks) s.delivery.reset();
  // A state directory of its own: locks and clients' names of a host that runs stay that host's.
  p.state_dir = (work / "state").string();

  config::node letters;
  letters.role = config::role::sink;
  letters.name = "dead_letters";
  letters.plugin = "file_sink";
  letters.where = p.dead_letters ? p.dead_letters->where : p.where;
  set_options(letters, {text_option("path", without_braces(rejected_in(work))), text_option("fsync", "never")});
  p.dead_letters = std::move(letters);
  return p;
}

record_id id_of(const letter& l, const selection& s) {
  if (!l.stream.empty() && l.position) return {l.stream, *l.position};
  return {std::string(nameless_stream), s.lines.size()};
}

void select(selection& to, const letter& l, std::string_view line, const config::pipeline& p, const std::string& node) {
  const auto* rejected_by = p.find(l.node);
  const bool by_transform = rejected_by != nullptr && rejected_by->role == config::role::transform;
  if (!by_transform && node.empty()) {
    ++to.of_other_nodes[l.node];
  } else if (!l.has_original()) {
    ++to.without_original;
  } else if (const auto [at, fresh] = to.lines.try_emplace(std::string(line), id_of(l, to)); fresh) {
    to.records.try_emplace(at->second, &at->first);
  }
}

void print_selection(const selection& s, const std::string& pipeline, const std::string& source) {
  fmt::print("{}: {} to put through again in the place of '{}', from {}\n", pipeline,
             plural(s.records.size(), "record"), source, plural(s.lines.size(), "letter"));
  for (const auto& [node, n] : s.of_other_nodes)
    fmt::print("left out: {} of '{}', which is no transform of this pipeline; --node {} picks them\n",
               plural(n, "letter"), shown(node), shown(node));
  if (s.without_original != 0)
    fmt::print("left out: {} without the original record\n", plural(s.without_original, "letter"));
}

// A letter without a place gets one, so that a new letter about it can be told from others.
std::string with_place(const record_id& id, const std::string& line) {
  if (id.first != nameless_stream) return line;
  return fmt::format("{{\"stream\":\"{}\",\"position\":{},{}", nameless_stream, id.second,
                     std::string_view(line).substr(line.find('{') + 1));
}

result<void> write_records(const selection& s, const fs::path& to) {
  std::ofstream out(to, std::ios::binary);
  for (const auto& [id, line] : s.records) out << with_place(id, *line) << '\n';
  out.close();
  return out ? result<void>{}
             : fatal(fmt::format("cannot write {}: {}", to.string(), std::generic_category().message(errno)));
}

// Takes the letters whose records are through out of their files, and puts new ones in the place of those that were rejected
// again. Answers how many were.
result<std::uint64_t> conclude(const selection& s, const run_outcome& done, const std::vector<fs::path>& files,
                               const fs::path& rejected) {
  std::string added;
  std::set<record_id> again;
  std::error_code ignored;
  if (fs::exists(rejected, ignored)) {
    const auto read = each_line(rejected, [&](std::string_view line) {
      added.append(line).push_back('\n');
      if (const auto l = parse_letter(line); l && l->position) again.insert({l->stream, *l->position});
    });
    if (!read.ok()) return read.why();
  }
  // After a signal only the first ones were read.
  std::set<record_id> through;
  for (const auto& [id, line] : s.records) {
    if (through.size() == done.totals.records_in) break;
    through.insert(id);
  }
  const auto fate_of = [&](std::string_view line) {
    const auto at = s.lines.find(std::string(line));
    if (at == s.lines.end() || !through.contains(at->second)) return fate::stays;
    return again.contains(at->second) ? fate::goes : fate::is_retried;
  };
  for (const auto& file : files) {
    if (auto r = rewrite_letters(file, fate_of, added); !r) return r.why();
    added.clear();
  }
  return static_cast<std::uint64_t>(std::ranges::count_if(through, [&](const auto& id) { return again.contains(id); }));
}

int put_through(const config::pipeline& settings, const std::string& source, const selection& chosen,
                const std::vector<fs::path>& files, session& s, signals& incoming) {
  auto work = work_folder::make(files.front().string() + ".retry");
  if (!work.ok()) return say_error(work.why().message), exit_failed;
  if (auto r = write_records(chosen, records_in((*work)->path())); !r) return say_error(r.why().message), exit_failed;
  s.plugins().add_linked(letters_source_plugin());
  config::diagnostics problems;
  auto p = engine::pipeline::build(for_retry(settings, source, (*work)->path()), s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!p) return exit_usage;
  const auto done = run_through(*p, incoming, s);
  p.reset();
  if (done.code != exit_ok) {
    say_error(
        fmt::format("not all records could be put through: all letters stay where they are; {} stored before that, "
                    "and will be stored again by the next try",
                    plural(done.totals.records_stored, "row") + (done.totals.records_stored == 1 ? " was" : " were")));
    return done.code;
  }
  const auto again = conclude(chosen, done, files, rejected_in((*work)->path()));
  if (!again.ok()) {
    say_error(
        fmt::format("the records are through, but their letters are still there: {}; the next retry would put them "
                    "through once more",
                    again.why().message));
    return exit_failed;
  }
  const auto retried = std::min<std::uint64_t>(done.totals.records_in, chosen.records.size()) - *again;
  fmt::print("{} went through ({} stored), {} rejected again\n", plural(retried, "record"),
             plural(done.totals.records_stored, "row"), *again);
  if (done.totals.records_in < chosen.records.size())
    fmt::print("stopped: {} were not tried, and stay in the letters\n", chosen.records.size() - done.totals.records_in);
  if (retried != 0)
    for (const auto& f : files) fmt::print("their letters are now in {}\n", retried_name(f).string());
  if (*again != 0) fmt::print("the others have new letters, with the new reasons, in {}\n", files.front().string());
  return *again == 0 ? exit_ok : exit_failed;
}

}  // namespace

int retry_dead_letters(const arguments& args) {
  signals incoming;
  auto filter = filter_of(args.letters);
  if (!filter) return exit_usage;
  const auto loaded = load(args);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  const auto settings = choose_pipeline(loaded, args.letters.pipeline);
  if (!settings.ok()) return say_error(settings.why().message), exit_usage;
  const auto source = choose_source(*settings, args.letters.source,
                                    ", and a letter doesn't say which it came from (--stream chooses its letters)");
  if (!source.ok()) return say_error(source.why().message), exit_usage;
  const auto files = letter_files(*settings);
  if (!files.ok()) return say_error(files.why().message), exit_usage;

  selection chosen;
  letter_place place{settings->name, {}};
  for (const auto& file : *files)
    for (auto& f : with_rotated(file)) place.files.push_back(std::move(f));
  auto reachable = *settings;
  keep_below(reachable, *source);
  const bool read = each_letter({place}, *filter, [&](const letter& l, std::string_view line) {
    select(chosen, l, line, reachable, args.letters.node);
  });
  if (!read) return exit_usage;
  print_selection(chosen, settings->name, *source);
  if (args.letters.dry_run || chosen.records.empty()) return exit_ok;
  if (!confirmed(args.letters.yes, "Sinks that have stored these records already will get them again."))
    return exit_usage;

  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  return put_through(*settings, *source, chosen, *files, s, incoming);
}

}  // namespace pl::host
