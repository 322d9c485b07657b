// SPDX-License-Identifier: Apache-2.0
#include "host/replay_report.hpp"

#include "host/dead_letter.hpp"

#include <file_common/each_line.hpp>
#include <fmt/format.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

fs::path alerts_in(const fs::path& work) { return work / "alerts.ndjson"; }
fs::path dead_letters_in(const fs::path& work) { return work / "dead-letters.ndjson"; }

// --------------------------------------------------------------------------------------------------------- progress ---

namespace {

constexpr auto terminal_interval = 200ms;
constexpr auto log_interval = 10s;

std::string time_left(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 60) return fmt::format("{} s left", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s left", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min left", whole / 3600, whole / 60 % 60);
}

}  // namespace

std::string progress_bar(std::uint64_t done, std::uint64_t all, std::chrono::duration<double> since,
                         std::size_t columns) {
  const double part = all == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(all));
  const double rate = since.count() > 0 ? static_cast<double>(done) / since.count() : 0;
  const auto left =
      done == 0 ? std::string("starting") : time_left(static_cast<double>(all - std::min(done, all)) / rate);
  const auto numbers = fmt::format(" {:3.0f} %  {} of {}  {} rec/s  {}", part * 100, telemetry::format_count(done),
                                   telemetry::format_count(all), telemetry::format_rate(rate), left);
  constexpr std::size_t widest = 40, narrowest = 8;
  if (columns < numbers.size() + narrowest + 2) return numbers.substr(1, columns);
  const auto width = std::min(widest, columns - numbers.size() - 2);
  const auto full = static_cast<std::size_t>(part * static_cast<double>(width));
  return "[" + std::string(full, '#') + std::string(width - full, '.') + "]" + numbers;
}

replay_progress::replay_progress(telemetry::logger& log, std::uint64_t records)
    : log_(log), records_(records), start_(clock::now()), next_(start_ + (log.interactive() ? 0ns : log_interval)) {}

void replay_progress::show(const telemetry::pipeline_progress& now) {
  const auto time = clock::now();
  if (time < next_) return;
  next_ = time + (log_.interactive() ? terminal_interval : log_interval);
  const auto line = progress_bar(now.records_in, records_, time - start_,
                                 log_.interactive() ? std::max<std::size_t>(log_.columns(), 2) - 1 : 100);
  if (log_.interactive())
    log_.status_line(line);
  else
    fmt::print(stderr, "{}\n", line);
}

void replay_progress::end() { log_.status_line({}); }

// ----------------------------------------------------------------------------------------------------------- report ---

namespace {

void print_dead_letters(std::FILE* to, const fs::path& file) {
  std::map<std::pair<std::string, std::string>, std::uint64_t> reasons;
  const auto read = files::each_line(file, [&](std::string_view line) {
    if (const auto l = parse_dead_letter(line)) ++reasons[{l->node, l->reason}];
  });
  if (!read.ok()) return;
  std::vector<std::pair<std::uint64_t, std::pair<std::string, std::string>>> sorted;
  for (const auto& [of, n] : reasons) sorted.push_back({n, of});
  std::ranges::stable_sort(sorted, std::greater<>{}, [](const auto& r) { return r.first; });
  constexpr std::size_t most = 10;
  for (std::size_t i = 0; i < std::min(most, sorted.size()); ++i)
    fmt::print(to, "  {:>8}  {}: {}\n", telemetry::format_count(sorted[i].first), shown(sorted[i].second.first),
               shown(sorted[i].second.second));
  if (sorted.size() > most) fmt::print(to, "            and {} other reasons\n", sorted.size() - most);
}

// The fields of an alert event that the report prints.
struct alert_event {
  std::string rule, state, severity, time, message, subject;
};

// Describe the alert's subject by the text columns that have no other meaning: "user_id u, device_id d7".
std::string subject_of(const rapidjson::Document& row) {
  static const std::set<std::string, std::less<>> others{"id",    "rule",      "state",   "severity", "metric",
                                                         "value", "threshold", "message", "labels",   "since",
                                                         "time",  "stream",    "position"};
  std::string subject;
  for (const auto& m : row.GetObject()) {
    const std::string_view name(m.name.GetString(), m.name.GetStringLength());
    if (others.contains(name) || !m.value.IsString()) continue;
    subject += fmt::format("{}{} {}", subject.empty() ? "" : ", ", name, m.value.GetString());
  }
  return subject;
}

std::optional<alert_event> parse_event(std::string_view line) {
  rapidjson::Document d;
  d.Parse(line.data(), line.size());
  if (d.HasParseError() || !d.IsObject()) return std::nullopt;
  const auto text = [&](const char* name) {
    if (!d.HasMember(name) || !d[name].IsString()) return std::string();
    return std::string(d[name].GetString(), d[name].GetStringLength());
  };
  return alert_event{text("rule"), text("state"), text("severity"), text("time"), text("message"), subject_of(d)};
}

void print_event_table(const std::map<std::string, std::map<std::string, std::uint64_t>>& counts) {
  std::set<std::string> states;
  std::size_t widest = 4;
  for (const auto& [rule, by_state] : counts) {
    widest = std::max(widest, rule.size());
    for (const auto& [state, n] : by_state) states.insert(state);
  }
  std::string line = fmt::format("  {:<{}}", "RULE", widest);
  for (const auto& state : states) line += fmt::format("  {:>10}", state);
  fmt::print("{}\n", line);
  for (const auto& [rule, by_state] : counts) {
    line = fmt::format("  {:<{}}", shown(rule), widest);
    for (const auto& state : states) {
      const auto n = by_state.find(state);
      line += fmt::format("  {:>10}", telemetry::format_count(n == by_state.end() ? 0 : n->second));
    }
    fmt::print("{}\n", line);
  }
}

// Print the first alerts in full, then the counts of all alerts.
void print_alerts(const fs::path& file) {
  constexpr std::uint64_t most = 20;
  std::map<std::string, std::map<std::string, std::uint64_t>> counts;
  std::uint64_t events = 0;
  std::error_code ignored;
  if (fs::exists(file, ignored))
    (void)files::each_line(file, [&](std::string_view line) {
      const auto e = parse_event(line);
      if (!e) return;
      if (events == 0) fmt::print("alerts that the rules would have raised:\n");
      if (++events <= most)
        fmt::print("  {}  {:<8}  {:<8}  {}  ({})\n", shown(e->time), shown(e->state), shown(e->severity),
                   shown(e->message), shown(e->subject));
      ++counts[e->rule][e->state];
    });
  if (events == 0) return fmt::print("alerts: none\n");
  if (events > most)
    fmt::print("  and {} more (--format ndjson prints each)\n", telemetry::format_count(events - most));
  print_event_table(counts);
}

void print_written(std::FILE* to, const engine::pipeline& p, std::string_view verb) {
  for (const auto& sink : p.settings().sinks)
    if (!sink.name.starts_with("alerts of "))
      fmt::print(to, "{}: {} {}\n", sink.name, plural(p.written(sink.name), "row"), verb);
}

// A source confirms that a position has no record before it skips it, or logs that records were lost.
void print_read(std::FILE* to, const run_outcome& done, std::uint64_t records, const std::string& duration) {
  const auto read = done.totals.records_in;
  fmt::print(to, "read: {}{}\n", plural(read, "record"), duration);
  if (read < records && done.code == exit_ok && !done.stopped)
    fmt::print(to,
               "{} of {} have no record to replay: a transaction marker or an aborted transaction, a record that "
               "compaction or retention has deleted, or a tombstone that the source skips\n",
               telemetry::format_count(records - read), plural(records, "position"));
}

}  // namespace

int report_replay(const engine::pipeline& p, const run_outcome& done, std::uint64_t records,
                  const fs::path& dead_letters) {
  print_read(stdout, done, records,
             fmt::format(" in {:.1f} s", std::chrono::duration<double>(done.totals.uptime).count()));
  print_written(stdout, p, "written");
  if (done.totals.rejected != 0)
    fmt::print("rejected: {}; new dead letters are in {}\n", plural(done.totals.rejected, "record"),
               dead_letters.string());
  if (done.code != exit_ok)
    print_error("not everything was delivered; run the replay again: sinks recognise the records they already have");
  else if (done.stopped)
    fmt::print("stopped after {} of {}\n", telemetry::format_count(done.totals.records_in), plural(records, "record"));
  return done.code == exit_ok && done.stopped ? exit_unsettled : done.code;
}

int report_dry_run(const engine::pipeline& p, const run_outcome& done, std::uint64_t records, const fs::path& work,
                   const std::string& format) {
  const bool ndjson = format == "ndjson";
  auto* to = ndjson ? stderr : stdout;
  print_read(to, done, records, "");
  print_written(to, p, "would be written");
  fmt::print(to, "rejected: {}\n", plural(done.totals.rejected, "record"));
  if (done.totals.rejected != 0) print_dead_letters(to, dead_letters_in(work));
  if (!ndjson)
    print_alerts(alerts_in(work));
  else if (std::error_code none; fs::exists(alerts_in(work), none))
    (void)files::each_line(alerts_in(work), [](std::string_view line) { fmt::print("{}\n", line); });
  return done.code == exit_ok && done.stopped ? exit_unsettled : done.code;
}

}  // namespace pl::host
