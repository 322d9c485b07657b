// SPDX-License-Identifier: Apache-2.0
#include "host/crash_report.hpp"
#include "host/run_summary.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/signals.hpp"
#include "host/unclaimed_spools.hpp"
#include "host/verbs.hpp"
#include "host/version.hpp"
#include "host/watchdog.hpp"
#include "telemetry/engine_metrics.hpp"
#include "telemetry/http_server.hpp"
#include "telemetry/monitoring_routes.hpp"
#include "telemetry/process_metrics.hpp"
#include "telemetry/progress.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

namespace pl::host {

using namespace std::chrono_literals;

namespace {

using clock = std::chrono::steady_clock;
using pipelines = std::vector<std::unique_ptr<engine::pipeline>>;

constexpr auto look_interval = 2s;  // for changed files, while a node does not work
constexpr auto failed_look_interval = 1min;
constexpr auto patience_of_readers = 1s;  // a probe must not wait for a reload that a plugin blocks

// Settings of the process, which a reload does not change.
struct process_settings {
  config::http_settings http;
  telemetry::log_options log;

  static process_settings of(const arguments& args, const config::load_result& loaded) {
    return {loaded.pipelines.front().http, log_options(args, loaded)};
  }
  [[nodiscard]] std::vector<std::string> ignored_changes(const process_settings& wanted) const;
};

std::string text_of(const config::http_settings& http) {
  return telemetry::to_string(telemetry::listen_address{http.host, http.port, !http.enabled});
}

// Return a line for each setting that differs from the one in effect.
std::vector<std::string> process_settings::ignored_changes(const process_settings& wanted) const {
  std::vector<std::string> lines;
  const auto compare = [&](std::string_view setting, std::string_view now, std::string_view then) {
    if (now != then)
      lines.push_back(
          fmt::format("{} changed from {} to {}: ignored; restart the host to apply it", setting, now, then));
  };
  compare("http.listen", text_of(http), text_of(wanted.http));
  compare("log.level", to_string(log.level), to_string(wanted.log.level));
  const auto format = [](telemetry::log_format f) { return f == telemetry::log_format::json ? "json" : "text"; };
  compare("log.format", format(log.format), format(wanted.log.format));
  return lines;
}

// Owns the running pipelines. The HTTP endpoint and the progress line read them while the main thread may replace them.
class runner {
 public:
  runner(const arguments& args, session& s, pipelines start, process_settings settings)
      : args_(args), session_(s), unclaimed_(s), running_(std::move(start)), settings_(std::move(settings)) {}

  int run(signals& incoming);
  [[nodiscard]] telemetry::progress_snapshot progress() const;
  [[nodiscard]] telemetry::readiness ready() const;
  [[nodiscard]] telemetry::readiness accepting() const;
  [[nodiscard]] std::string alerts() const;  // JSON
  [[nodiscard]] bool alive() const { return heartbeat_.alive(); }

 private:
  bool stop_asked(int signal);
  void reload();
  void report(telemetry::log_level level, std::string_view pipeline, std::string_view message);
  bool replace_all(pipelines fresh);
  void follow_files();
  bool replace_with_changed_files(std::unique_ptr<engine::pipeline>& p, const config::pipeline& settings);
  bool quiesce(engine::pipeline& p, const engine::pipeline& successor);
  void end(engine::pipeline& p);
  pipelines::iterator running(const engine::pipeline& successor);
  bool all_ended() const;
  std::vector<config::pipeline> settings() const;
  void begin_stop();
  void give_up_when_late();
  int finish();
  void summarize(const engine::pipeline& p);
  template <class F>
  bool read_running(F&& each) const;
  void add_slow_calls(telemetry::readiness& to) const;

  const arguments& args_;
  session& session_;
  unclaimed_spools unclaimed_;
  mutable std::timed_mutex mutex_;
  pipelines running_;
  const process_settings settings_;  // in effect since the start
  std::uint64_t rejected_ = 0;       // by pipelines that have ended
  telemetry::heartbeat heartbeat_;
  bool stopping_ = false, abandoned_ = false;
  clock::time_point deadline_{}, next_look_{};
  std::optional<watchdog> hung_;  // ends the process if a plugin call never returns
};

int runner::run(signals& incoming) {
  unclaimed_.look(settings());
  for (auto& p : running_) p->start();
  while (!all_ended()) {
    heartbeat_.beat();
    const int signal = incoming.wait(200ms);
    if (signal == SIGHUP && !stopping_) reload();
    if (signal == SIGTERM || signal == SIGINT) {
      if (stopping_) {
        session_.log().warn({}, {},
                            "second signal: stopping at once; what was in flight is read again after the next start");
        end_process(exit_at_once);
      }
      begin_stop();
    }
    for (auto& p : running_) p->supervise();
    follow_files();
    give_up_when_late();
  }
  return finish();
}

std::vector<config::pipeline> runner::settings() const {
  std::vector<config::pipeline> all;
  for (const auto& p : running_) all.push_back(p->settings());
  return all;
}

bool runner::all_ended() const {
  return std::all_of(running_.begin(), running_.end(), [](const auto& p) { return p->ended(); });
}

void runner::begin_stop() {
  stopping_ = true;
  auto longest = 0ns;
  for (auto& p : running_) {
    longest = std::max(longest, p->settings().shutdown_timeout);
    p->stop();
  }
  deadline_ = clock::now() + longest;
  session_.log().info({}, {}, "stopping: finishing what is in flight, for at most {} s; a second signal stops at once",
                      std::chrono::duration_cast<std::chrono::seconds>(longest).count());
}

void runner::give_up_when_late() {
  if (!stopping_ || abandoned_ || clock::now() < deadline_) return;
  abandoned_ = true;
  session_.log().error(
      {}, {},
      "not all records in flight could be written within shutdown_timeout; the rest stay unsettled and are read "
      "again after the next start");
  for (auto& p : running_) p->abandon();
  hung_.emplace(10s, exit_unsettled, session_.calls());
}

int runner::finish() {
  if (!hung_) hung_.emplace(10s, exit_unsettled, session_.calls());
  for (auto& p : running_) p->join();
  bool failed = std::any_of(running_.begin(), running_.end(), [](const auto& p) { return !p->failure().empty(); });
  for (auto& p : running_) {
    if (const auto why = p->failure(); !why.empty()) session_.log().error(p->settings().name, {}, "failed: {}", why);
    summarize(*p);
  }
  {
    hung_.emplace(10s, exit_unsettled, session_.calls());  // plugins have as long again to destroy their instances
    std::scoped_lock lock(mutex_);
    running_.clear();
    hung_.reset();
  }
  failed = failed || session_.calls()->violations() != 0;
  if (failed) return exit_failed;
  session_.log().info({}, {}, "stopped");
  if (abandoned_) return exit_unsettled;
  return args_.fail_on_rejects && rejected_ != 0 ? exit_rejects : exit_ok;
}

// Log the totals of a pipeline that has ended.
void runner::summarize(const engine::pipeline& p) {
  const auto totals = p.totals();
  const auto& name = p.settings().name;
  rejected_ += rejected_in(totals);
  const auto ended = stopping_ ? "stopped" : p.failure().empty() ? "finished" : "failed";
  report(telemetry::log_level::info, name, fmt::format("{}: {}", ended, run_summary(p.settings(), totals)));
  if (!stopping_ && p.failure().empty() && read_in(totals) == 0 && p.continued())
    report(telemetry::log_level::warn, name,
           "nothing was left to read: the sources continued where an earlier run had ended; to start over, use 'run "
           "--fresh'");
}

void runner::report(telemetry::log_level level, std::string_view pipeline, std::string_view message) {
  session_.log().report(level, pipeline, {}, message);
}

void runner::reload() {
  namespace em = telemetry::engine_metrics;
  auto loaded = load(args_);
  auto fresh = loaded.ok() ? session_.build(loaded, running_) : pipelines{};
  const bool good = loaded.ok();
  const auto level_of = [](config::severity of) {
    return of == config::severity::error     ? telemetry::log_level::error
           : of == config::severity::warning ? telemetry::log_level::warn
                                             : telemetry::log_level::info;
  };
  for (const auto& d : loaded.problems.sorted())
    report(level_of(d.level), {},
           fmt::format("{}: {}{}{}", d.where.to_string(), d.message, d.hint.empty() ? "" : "; ", d.hint));
  if (good)
    for (const auto& line : settings_.ignored_changes(process_settings::of(args_, loaded)))
      report(telemetry::log_level::warn, {}, "reload: " + line);
  const bool replaced = good && replace_all(std::move(fresh));
  if (replaced) unclaimed_.look(settings());
  session_.metrics().get(em::config_reloads_total, replaced ? "ok" : "failed").add();
  if (replaced)
    report(telemetry::log_level::info, {}, "configuration reloaded");
  else
    report(telemetry::log_level::error, {}, "configuration not reloaded: the old configuration stays in effect");
}

// Return the running pipeline with the successor's name, or the end iterator.
pipelines::iterator runner::running(const engine::pipeline& successor) {
  return std::ranges::find_if(running_, [&](const auto& p) { return p->settings().name == successor.settings().name; });
}

// Return whether every changed pipeline could be replaced.
bool runner::replace_all(pipelines fresh) {
  // Quiescing takes as long as the slowest sink. It happens without the lock, so that health checks continue.
  std::vector<engine::pipeline*> staying;
  bool all = true;
  for (const auto& f : fresh) {
    const auto old = running(*f);
    if (old == running_.end()) continue;
    const bool same = f->same_as(**old);
    if (same) report(telemetry::log_level::info, f->settings().name, "reload: nothing changed");
    const bool quiescent = !same && quiesce(**old, *f);
    if (!quiescent) staying.push_back(old->get());
    all = all && (same || quiescent);
  }
  pipelines gone;
  {
    std::scoped_lock lock(mutex_);
    pipelines next;
    for (auto& f : fresh) {
      std::unique_ptr<engine::pipeline> old;
      if (const auto at = running(*f); at != running_.end()) {
        old = std::move(*at);
        running_.erase(at);
      }
      if (!old)
        report(telemetry::log_level::info, f->settings().name, "reload: pipeline added"), f->start();
      else if (std::ranges::count(staying, old.get()) != 0)
        std::swap(f, old);
      else
        f->replace(*old);
      next.push_back(std::move(f));
    }
    gone = std::exchange(running_, std::move(next));
  }
  for (auto& p : gone) end(*p);
  return all;
}

// While a node does not work, look whether a file with a secret or a certificate has changed (a rotated password), and
// replace the nodes that use it. The rest of the configuration is not read again.
void runner::follow_files() {
  if (stopping_ || clock::now() < next_look_) return;
  next_look_ = clock::now() + look_interval;
  for (auto& p : running_) {
    std::vector<telemetry::not_ready> waiting;
    p->waiting(waiting);
    p->degraded(waiting);
    if (waiting.empty() || !p->failure().empty()) continue;
    const auto settings = p->settings_with_changed_files();
    if (settings && !replace_with_changed_files(p, *settings)) next_look_ = clock::now() + failed_look_interval;
  }
}

bool runner::replace_with_changed_files(std::unique_ptr<engine::pipeline>& p, const config::pipeline& settings) {
  config::diagnostics problems;
  auto fresh = engine::pipeline::build(settings, session_.services(), session_.plugins(), problems, p.get());
  for (const auto& d : problems.sorted())
    session_.log().warn(settings.name, {}, "changed files cannot be used: {}: {}", d.where.to_string(), d.message);
  if (!fresh || fresh->same_as(*p)) return false;
  report(telemetry::log_level::info, settings.name, "files with secrets or certificates have changed: reloading them");
  if (!quiesce(*p, *fresh)) return false;
  std::scoped_lock lock(mutex_);
  fresh->replace(*p);
  p = std::move(fresh);
  return true;
}

bool runner::quiesce(engine::pipeline& p, const engine::pipeline& successor) {
  const auto patience = p.settings().shutdown_timeout;
  const auto deadline = clock::now() + patience;
  while (!p.quiesce(100ms, successor)) {
    heartbeat_.beat();
    if (clock::now() < deadline) continue;
    const auto why = p.why_not_quiescent(successor);
    p.resume();
    report(
        telemetry::log_level::error, p.settings().name,
        fmt::format("not reloaded: what is in flight could not be handed over within {} s (shutdown_timeout): {}; the "
                    "old configuration stays in effect",
                    std::chrono::duration_cast<std::chrono::seconds>(patience).count(), why));
    return false;
  }
  return true;
}

// Stop a pipeline that is no longer configured.
void runner::end(engine::pipeline& p) {
  report(telemetry::log_level::info, p.settings().name, "reload: pipeline removed: stopping");
  p.stop();
  for (const auto deadline = clock::now() + p.settings().shutdown_timeout; !p.ended() && clock::now() < deadline;) {
    heartbeat_.beat();
    std::this_thread::sleep_for(20ms);
  }
  p.abandon();
  p.join();
  summarize(p);
  session_.metrics().remove(p.settings().name);
}

// Let `each` read the running pipelines. False: the main thread replaces them, and may wait for a plugin.
template <class F>
bool runner::read_running(F&& each) const {
  const std::unique_lock lock(mutex_, patience_of_readers);
  if (!lock) return false;
  for (const auto& p : running_) each(*p);
  return true;
}

void runner::add_slow_calls(telemetry::readiness& to) const {
  for (const auto& call : session_.calls()->overdue()) {
    bool best_effort = false;
    (void)read_running([&](const auto& p) {
      const auto* node = p.settings().name == call.pipeline ? p.settings().find(call.node) : nullptr;
      if (node != nullptr) best_effort = node->on_failure == config::failure_policy::dead_letters;
    });
    auto& list = best_effort ? to.degraded : to.waiting;
    list.push_back({call.pipeline, call.node, engine::to_string(call)});
  }
}

telemetry::progress_snapshot runner::progress() const {
  telemetry::progress_snapshot all;
  (void)read_running([&](const auto& p) { all.push_back(p.progress()); });
  return all;
}

telemetry::readiness runner::ready() const {
  telemetry::readiness now;
  if (!read_running([&](const auto& p) { p.waiting(now.waiting), p.degraded(now.degraded); }))
    now.waiting.push_back({{}, {}, "pipelines are being replaced"});
  add_slow_calls(now);
  return now;
}

telemetry::readiness runner::accepting() const {
  telemetry::readiness now;
  if (!read_running([&](const auto& p) { p.not_accepting(now.waiting); }))
    now.waiting.push_back({{}, {}, "pipelines are being replaced"});
  return now;
}

std::string runner::alerts() const {
  const auto deadline = clock::now() + 3s;
  const auto request = std::make_shared<engine::alert_request>();
  std::string names;
  (void)read_running([&](const auto& p) {
    p.ask_for_alerts(request);
    names += names.empty() ? "" : ",";
    append_json_string(names, p.settings().name);
  });
  const auto found = request->wait(deadline);  // without the lock: a lane may be busy
  std::string problems;
  for (const auto& problem : found.problems) {
    problems += problems.empty() ? "" : ",";
    append_json_string(problems, valid_utf8(problem));
  }
  return fmt::format("{{\"pipelines\":[{}],\"problems\":[{}],\"alerts\":[{}]}}", names, problems,
                     fmt::join(found.alerts, ",\n"));
}

// Start the HTTP endpoint that the configuration enables. Return null if it is disabled, or if the start failed
// (`failed` is set). A port that nobody configured is not worth failing for.
std::unique_ptr<telemetry::http_server> serve(const config::http_settings& settings, session& s, const runner& r,
                                              bool& failed) {
  if (!settings.enabled) return nullptr;
  auto server = telemetry::http_server::start(
      telemetry::listen_address{settings.host, settings.port, false},
      telemetry::monitoring_routes({.metrics = [&s] { return s.metrics().render() + telemetry::process_metrics(); },
                                    .ready = [&r] { return r.ready(); },
                                    .accepting = [&r] { return r.accepting(); },
                                    .live = [&r] { return r.alive(); },
                                    .alerts = [&r] { return r.alerts(); }}));
  failed = !server && settings.configured;
  if (failed) s.log().error({}, {}, "{}", server.why().message);
  if (!server && !failed)
    s.log().warn({}, {},
                 "{}; this host runs without metrics and health; to set another port, use '--set "
                 "http.listen=127.0.0.1:PORT', and to run without it, '--set http.listen=off'",
                 server.why().message);
  if (!server) return nullptr;
  s.log().info({}, {}, "metrics and health: http://{}/", telemetry::to_string((*server)->address()));
  return std::move(*server);
}

// Forget what earlier runs stored. Return false, after printing why, if one of the pipelines would not start over.
bool forget_earlier_runs(const pipelines& all, session& s) {
  for (const auto& p : all)
    if (const auto why = p->why_not_fresh(); !why.empty())
      return print_error(fmt::format("--fresh: {} would not start over: {}", p->settings().name, why)), false;
  for (const auto& p : all) {
    const auto forgotten = p->forget_state();
    if (!forgotten.ok()) return print_error("--fresh: " + forgotten.why().message), false;
    s.log().info(p->settings().name, {}, "starting over: {}",
                 *forgotten ? "the positions and the state of earlier runs were deleted"
                            : "no earlier run has stored positions or state");
  }
  return true;
}

}  // namespace

int run(const arguments& args) {
  signals incoming;
  auto loaded = load(args);
  session s(args, log_options(args, loaded));
  incoming.name_calls_of(s.calls());
  auto built = s.build(loaded);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  if (args.fresh && !forget_earlier_runs(built, s)) return exit_usage;
  s.metrics().get(telemetry::engine_metrics::build_info, version).set(1);
  s.log().info({}, {}, "pipeline-host {} starts {} pipeline{}", version, built.size(), built.size() == 1 ? "" : "s");

  const auto http = loaded.pipelines.front().http;
  runner r(args, s, std::move(built), process_settings::of(args, loaded));
  bool failed = false;
  const auto server = serve(http, s, r, failed);
  if (failed) return exit_failed;
  const telemetry::progress_reporter progress(s.log(), [&r] { return r.progress(); });
  return r.run(incoming);
}

}  // namespace pl::host
