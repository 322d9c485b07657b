// SPDX-License-Identifier: Apache-2.0
// The verb `test` runs test cases through a pipeline.
#include "host/cases/capture_sink.hpp"
#include "host/cases/case_run.hpp"
#include "host/cases/coverage.hpp"
#include "host/cases/input.hpp"
#include "host/cases/junit.hpp"
#include "host/cases/match.hpp"
#include "host/cases/test_case.hpp"
#include "host/cases/test_source.hpp"
#include "host/dead_letter.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

// Return the environment of the process, with the variables of the file of cases in front. A secret that cannot be read is
// replaced by a text, because sources and sinks are not used.
config::environment environment_of(const test_file& file) {
  auto env = config::process_environment();
  env.variable = [given = file.environment, of_process = env.variable](std::string_view name) {
    const auto at = given.find(std::string(name));
    return at != given.end() ? std::optional(at->second) : of_process(name);
  };
  env.read_file = [of_process = env.read_file](const std::string& path, std::string& why) {
    auto text = of_process(path, why);
    return text ? text : std::optional<std::string>("not read in tests");
  };
  return env;
}

// A pipeline under test: what its cases need, and what they have reached.
struct tested_pipeline {
  config::pipeline settings;
  std::vector<engine::node_outputs> outputs, sources;
  segment_patterns segments;
  std::unique_ptr<coverage> reached;
};

class test_run {
 public:
  explicit test_run(const arguments& args) : args_(args), color_(use_color(STDOUT_FILENO)) {}

  int run() {
    auto files = cases_to_run();
    if (files.empty()) return exit_usage;
    for (const auto& file : files) {
      const auto code = run_file(file);
      if (code != exit_ok) return code;
    }
    if (results_.empty())
      return print_error(fmt::format("no case has a name that contains '{}'", config::printable(args_.test.only))),
             exit_usage;
    const auto failed = std::ranges::count_if(results_, [](const auto& r) { return !r.findings.empty(); });
    const auto total = results_.size();
    fmt::print("\n{}: {} passed, {} failed\n", plural(total, "case"), total - static_cast<std::size_t>(failed), failed);
    const bool covered = report_coverage();
    if (!args_.test.junit.empty() && !write_junit()) return exit_failed;
    return failed != 0 || (args_.test.require_coverage && !covered) ? exit_failed : exit_ok;
  }

 private:
  std::vector<test_file> cases_to_run() {
    std::vector<fs::path> paths(args_.test.cases.begin(), args_.test.cases.end());
    const fs::path config = args_.test.config;
    if (paths.empty()) paths = test_files_of(config);
    if (paths.empty())
      print_error(fmt::format("there are no test cases: write {}, or name the files of cases",
                              fs::path(config).replace_extension(".test.yaml").string()));
    config::diagnostics problems;
    std::vector<test_file> files;
    for (const auto& path : paths) files.push_back(read_test_file(path, problems));
    print_problems(problems);
    return problems.has_errors() ? std::vector<test_file>() : files;
  }

  // Load the configuration with the environment of the file, run its cases, and return an exit code.
  int run_file(const test_file& file) {
    const std::vector<config::file_arg> configs{{args_.test.config, std::nullopt}};
    auto loaded = config::load(configs, args_.sets, environment_of(file));
    if (!loaded.ok()) {
      print_problems(loaded.problems);
      return print_error(fmt::format("the configuration has errors; {} can set variables under `environment`",
                                     file.path.string())),
             exit_usage;
    }
    auto log = log_options(args_, loaded);
    if (!args_.log_level) log.level = telemetry::log_level::warn;
    session s(args_, log);
    incoming_.name_calls_of(s.calls());
    s.plugins().add_linked(capture_sink_plugin());
    s.plugins().add_linked(test_source_plugin());
    auto work = work_folder::make(fs::temp_directory_path() / "pipeline-test");
    if (!work.ok()) return print_error(work.why().message), exit_failed;
    for (const auto& c : file.cases) {
      if (c.name.find(args_.test.only) == std::string::npos) continue;
      const auto code = run_case(file, c, loaded, s, (*work)->path());
      if (code != exit_ok) return code;
    }
    return exit_ok;
  }

  // Check the pipeline as it is configured, with its sources and sinks. It is never started.
  tested_pipeline* prepare(const config::pipeline& settings, session& s) {
    config::diagnostics problems;
    auto p = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
    if (!p) return print_problems(problems), nullptr;
    auto& made = pipelines_[settings.name];
    made.settings = settings;
    made.outputs = p->outputs();
    made.sources.clear();
    for (const auto& source : settings.sources)
      if (const auto* v = source.options.find("segments"); v != nullptr && v->is_scalar())
        made.segments[source.name] = v->text;
    for (const auto& o : made.outputs)
      if (o.role == config::role::source) made.sources.push_back(o);
    if (!made.reached) made.reached = std::make_unique<coverage>(settings, made.outputs);
    return &made;
  }

  int run_case(const test_file& file, const test_case& c, const config::load_result& loaded, session& s,
               const fs::path& work) {
    const auto chosen = choose_pipeline(loaded, c.pipeline ? c.pipeline->text : std::string());
    if (!chosen.ok()) {
      config::diagnostics problems;
      problems.error(c.pipeline ? c.pipeline->where : c.where, chosen.why().message, "name it with pipeline: NAME");
      return print_problems(problems), exit_usage;
    }
    auto* of = prepare(*chosen, s);
    if (of == nullptr) return exit_usage;
    config::diagnostics problems;
    const auto input = make_input(c, of->sources, of->segments, file.path.parent_path(), problems);
    check_names(c, *of, problems);
    if (problems.has_errors()) return print_problems(problems), exit_usage;

    const auto begin = std::chrono::steady_clock::now();
    const auto made = case_runner(of->settings, of->outputs, work, s, incoming_).run(input, problems);
    if (problems.has_errors()) return print_problems(problems), exit_usage;
    if (made.stopped && made.failure.empty()) return print_error("stopped by a signal"), exit_failed;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    of->reached->add(made);
    results_.push_back({file.path.string(), c.name, c.where, took.count(), check(c, made, *of)});
    const auto& done = results_.back();
    fmt::print("{}  {}{}{}\n{}", done.findings.empty() ? "pass" : "FAIL", shown(c.name),
               done.findings.empty() ? "" : "  ", done.findings.empty() ? "" : shown(c.where.to_string()),
               to_text(done.findings, color_));
    std::fflush(stdout);
    return exit_ok;
  }

  // Report expectations of sinks and outputs that the pipeline does not have.
  static void check_names(const test_case& c, const tested_pipeline& of, config::diagnostics& problems) {
    std::vector<std::string> sinks, outputs;
    for (const auto& s : of.settings.sinks) sinks.push_back(s.name);
    for (const auto& o : of.outputs) {
      if (o.role != config::role::transform) continue;
      outputs.push_back(o.node);
      for (const auto& port : o.ports) outputs.push_back(fmt::format("{}.{}", o.node, port));
    }
    const auto check = [&](const std::vector<named_output>& named, const std::vector<std::string>& known,
                           std::string_view what) {
      for (const auto& n : named)
        if (std::ranges::find(known, n.name) == known.end()) {
          const std::vector<std::string_view> names(known.begin(), known.end());
          auto hint = did_you_mean(n.name, names);
          if (hint.empty()) hint = fmt::format("there are: {}", fmt::join(known, ", "));
          problems.error(n.name_where, fmt::format("the pipeline has no {} '{}'", what, config::printable(n.name)),
                         std::move(hint));
        }
    };
    check(c.sinks, sinks, "sink");
    check(c.outputs, outputs, "transform or output");
  }

  static std::vector<finding> check(const test_case& c, const case_rows& made, const tested_pipeline& of) {
    std::vector<finding> all;
    if (!made.failure.empty()) all.push_back({"the pipeline failed: " + made.failure, c.where, {}});
    const auto add = [&](const std::string& what, const expected_output& expected,
                         const std::vector<captured_row>& rows) {
      std::ranges::move(check_output(what, expected, rows), std::back_inserter(all));
    };
    static const std::vector<captured_row> none;
    const auto rows_of = [&](const auto& from, const std::string& name) -> const std::vector<captured_row>& {
      const auto at = from.find(name);
      return at == from.end() ? none : at->second;
    };
    for (const auto& s : c.sinks) add(fmt::format("sink '{}'", s.name), s.expected, rows_of(made.sinks, s.name));
    for (const auto& o : c.outputs)
      add(fmt::format("output '{}'", o.name), o.expected, rows_of(made.outputs, with_port(o.name, of)));
    if (c.alerts) add("alerts", *c.alerts, made.alerts);
    // A record that is rejected is a failure, unless the case expects it.
    expected_output no_dead_letters;
    no_dead_letters.where = c.where;
    no_dead_letters.rows.emplace();
    add("dead letters", c.dead_letters ? *c.dead_letters : no_dead_letters, made.dead_letters);
    return all;
  }

  // "node" stands for the first output of the node.
  static std::string with_port(const std::string& name, const tested_pipeline& of) {
    const auto at = std::ranges::find(of.outputs, name, &engine::node_outputs::node);
    return at == of.outputs.end() ? name : fmt::format("{}.{}", name, at->ports.front());
  }

  // Return whether the cases reach everything.
  bool report_coverage() const {
    if (!args_.test.only.empty()) return true;
    bool all = true;
    for (const auto& [name, p] : pipelines_) {
      const auto missing = p.reached->not_reached();
      const auto parts = p.reached->parts();
      fmt::print("{}: {} of {} nodes, outputs and rules reached\n", name, parts - missing.size(), parts);
      for (const auto& part : missing) fmt::print("  not reached: {}\n", shown(part));
      all = all && missing.empty();
    }
    return all;
  }

  [[nodiscard]] bool write_junit() const {
    std::ofstream out(args_.test.junit, std::ios::binary | std::ios::trunc);
    out << to_junit(args_.test.config, results_);
    out.close();
    if (!out) print_error(fmt::format("cannot write {}", args_.test.junit));
    return static_cast<bool>(out);
  }

  const arguments& args_;
  const bool color_;
  signals incoming_;
  std::map<std::string, tested_pipeline> pipelines_;
  std::vector<case_result> results_;
};

}  // namespace

int run_tests(const arguments& args) { return test_run(args).run(); }

}  // namespace pl::host
