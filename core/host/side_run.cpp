// SPDX-License-Identifier: Apache-2.0
#include "host/side_run.hpp"

#include "host/dead_letter.hpp"
#include "host/watchdog.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

void print_error(std::string_view what) { fmt::print(stderr, "error: {}\n", what); }

std::string plural(std::uint64_t n, std::string_view what) {
  return fmt::format("{} {}{}", telemetry::format_count(n), what, n == 1 ? "" : "s");
}

bool confirmed(bool yes, std::string_view question) {
  if (yes) return true;
  if (::isatty(STDIN_FILENO) == 0)
    return print_error(fmt::format(
               "{} stdin is not a terminal: confirm with --yes, or use --dry-run to see what would be done", question)),
           false;
  fmt::print("{} Continue? [y/N] ", question);
  std::fflush(stdout);
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes");
}

result<config::pipeline> choose_pipeline(const config::load_result& loaded, const std::string& name) {
  std::string names;
  for (const auto& p : loaded.pipelines) {
    if (p.name == name || (name.empty() && loaded.pipelines.size() == 1)) return p;
    names += names.empty() ? p.name : ", " + p.name;
  }
  if (name.empty()) return fatal("the configuration has several pipelines; choose one with --pipeline: " + names);
  return fatal(fmt::format("there is no pipeline '{}'; available: {}", shown(name), names));
}

result<std::string> choose_source(const config::pipeline& p, const std::string& name, std::string_view why) {
  std::string names;
  for (const auto& s : p.sources) {
    if (s.name == name || (name.empty() && p.sources.size() == 1)) return s.name;
    names += names.empty() ? s.name : ", " + s.name;
  }
  if (name.empty())
    return fatal(fmt::format("'{}' has several sources{}; choose one with --source: {}", p.name, why, names));
  return fatal(fmt::format("'{}' has no source '{}'; available: {}", p.name, shown(name), names));
}

config::value text_option(std::string key, std::string text) {
  config::value v;
  v.type = config::value::kind::scalar;
  v.key = std::move(key);
  v.text = std::move(text);
  v.quoted = true;
  return v;
}

void set_options(config::node& of, std::vector<config::value> options) {
  of.options.type = config::value::kind::map;
  of.options.children = std::move(options);
}

std::string without_braces(const fs::path& path) {
  std::string text;
  for (const char c : path.string()) text.append(c == '{' || c == '}' ? 2 : 1, c);
  return text;
}

result<std::unique_ptr<work_folder>> work_folder::make(const fs::path& prefix) {
  auto name = prefix.string() + "-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr)
    return fatal(fmt::format("cannot create the folder {}: {}", name, std::generic_category().message(errno)));
  return std::unique_ptr<work_folder>(new work_folder(name));
}

work_folder::~work_folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

run_outcome run_through(engine::pipeline& p, signals& incoming, session& s,
                        const std::function<void(const telemetry::pipeline_progress&)>& watch,
                        std::chrono::milliseconds interval) {
  p.start();
  std::optional<clock::time_point> deadline;
  bool abandoned = false;
  while (!p.ended()) {
    const int signal = incoming.wait(interval);
    if (signal == SIGTERM || signal == SIGINT) {
      if (deadline) end_process(exit_at_once);
      deadline = clock::now() + p.settings().shutdown_timeout;
      p.stop();
    }
    p.supervise();
    if (watch) watch(p.progress());
    if (deadline && !abandoned && clock::now() >= *deadline) {
      abandoned = true;
      p.abandon();
    }
  }
  {
    const watchdog hung(10s, exit_unsettled, s.calls());
    p.join();
  }
  run_outcome done{abandoned ? exit_unsettled : exit_ok, deadline.has_value(), p.progress()};
  if (const auto why = p.failure(); !why.empty()) {
    s.log().error(p.settings().name, {}, "failed: {}", why);
    done.code = exit_failed;
  }
  return done;
}

}  // namespace pl::host
