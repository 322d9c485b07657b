// SPDX-License-Identifier: Apache-2.0
#include "host/cases/case_run.hpp"

#include "host/cases/capture_sink.hpp"
#include "host/cases/test_source.hpp"
#include "host/side_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto time_limit = 60s;  // of a run, on the clock of the machine

fs::path input_in(const fs::path& work) { return work / "input"; }
fs::path dead_letters_in(const fs::path& work) { return work / "dead-letters"; }

config::value list_option(std::string key, const std::vector<std::string>& items) {
  config::value v;
  v.type = config::value::kind::list;
  v.key = std::move(key);
  for (const auto& item : items) v.children.push_back(text_option({}, item));
  return v;
}

void capture(config::node& sink, const fs::path& to) {
  sink.plugin = capture_sink_name;
  sink.writers = 1;
  sink.delivery.reset();
  sink.batch = {.rows = sink.batch.rows, .delay = 1ms, .max_bytes = sink.batch.max_bytes};
  set_options(sink, {text_option("path", to.string())});
}

config::node new_sink(std::string name, const config::pipeline& p) {
  config::node n;
  n.role = config::role::sink;
  n.name = std::move(name);
  n.where = n.plugin_where = p.where;
  return n;
}

}  // namespace

case_runner::case_runner(config::pipeline settings, std::vector<engine::node_outputs> outputs, fs::path work,
                         session& s, signals& incoming)
    : settings_(std::move(settings)),
      outputs_(std::move(outputs)),
      work_(std::move(work)),
      session_(s),
      incoming_(incoming) {}

// Replace the source and the sinks, and attach a sink to each output of each transform.
config::pipeline case_runner::prepared(const std::string& source, std::vector<captured_file>& files) const {
  auto p = settings_;
  keep_below(p, source);
  auto& from = p.sources.front();
  from.plugin = test_source_name;
  from.lanes = p.lanes = 1;
  std::vector<std::string> columns;
  for (const auto& c : columns_of(*std::ranges::find(outputs_, source, &engine::node_outputs::node)))
    columns.push_back(fmt::format("{} {}", c.kind, c.name));
  set_options(from, {text_option("path", input_in(work_).string()), list_option("columns", columns)});
  p.delivery = config::delivery::at_least_once;
  p.state_dir = (work_ / "state").string();

  const auto next_file = [&] { return work_ / fmt::format("rows-{}", files.size()); };
  for (auto& sink : p.sinks) {
    files.push_back({sink.name, false, false, next_file()});
    capture(sink, files.back().path);
  }
  for (const auto& o : outputs_) {
    const auto* node = p.find(o.node);
    if (o.role != config::role::transform || node == nullptr) continue;
    for (const auto& port : o.ports) {
      files.push_back({fmt::format("{}.{}", o.node, port), true, o.alerts, next_file()});
      auto tap = new_sink("output " + files.back().output, p);
      tap.from.push_back({o.node, port, node->where});
      capture(tap, files.back().path);
      p.sinks.push_back(std::move(tap));
    }
  }
  p.dead_letters = new_sink("dead_letters", p);
  capture(*p.dead_letters, dead_letters_in(work_));
  return p;
}

case_rows case_runner::run(const case_input& input, config::diagnostics& problems) {
  case_rows made;
  for (const auto& source : settings_.sources) {
    const auto lines = input.lines.find(source.name);
    if (lines == input.lines.end()) continue;
    made.sources.insert(source.name);
    std::ofstream(input_in(work_), std::ios::binary | std::ios::trunc) << lines->second;
    run(source.name, input.now, made, problems);
    if (problems.has_errors() || made.stopped || !made.failure.empty()) break;
  }
  return made;
}

void case_runner::run(const std::string& source, std::int64_t now, case_rows& to, config::diagnostics& problems) {
  std::vector<captured_file> files;
  const auto settings = prepared(source, files);
  auto common = session_.services();
  common.clock = std::make_shared<engine::simulated_clock>(now);
  auto p = engine::pipeline::build(settings, common, session_.plugins(), problems);
  if (!p) return;
  const auto deadline = std::chrono::steady_clock::now() + time_limit;
  bool too_long = false;
  const auto watch = [&](const auto&) {
    if (too_long || std::chrono::steady_clock::now() < deadline) return;
    too_long = true;
    p->stop();
    p->abandon();
  };
  const auto done = run_through(*p, incoming_, session_, watch, 1ms);
  to.stopped = done.stopped;
  to.failure = p->failure();
  if (too_long) to.failure = fmt::format("the case did not end within {} s", time_limit.count());
  p.reset();
  collect(files, to);
  std::error_code ignored;
  fs::remove_all(work_ / "state", ignored);
}

// Read what the sinks captured, and remove the files.
void case_runner::collect(const std::vector<captured_file>& files, case_rows& to) const {
  std::error_code ignored;
  const auto take = [&](const fs::path& file, std::vector<captured_row>& into) {
    std::ranges::move(read_captured(file), std::back_inserter(into));
    fs::remove(file, ignored);
  };
  for (const auto& f : files) {
    if (f.alerts) std::ranges::move(read_captured(f.path), std::back_inserter(to.alerts));
    take(f.path, (f.of_transform ? to.outputs : to.sinks)[f.output]);
  }
  take(dead_letters_in(work_), to.dead_letters);
}

}  // namespace pl::host
