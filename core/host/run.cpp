// SPDX-License-Identifier: Apache-2.0
#include "host/session.hpp"
#include "host/signals.hpp"
#include "host/verbs.hpp"
#include "host/version.hpp"
#include "host/watchdog.hpp"
#include "telemetry/engine_metrics.hpp"
#include "telemetry/http_server.hpp"
#include "telemetry/progress.hpp"

#include <fmt/format.h>

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

// The running pipelines, looked at by the HTTP endpoint and the progress line while main may replace them.
class runner {
 public:
  runner(const arguments& args, session& s, pipelines start) : args_(args), session_(s), running_(std::move(start)) {}

  int run(signals& incoming);
  [[nodiscard]] telemetry::progress_snapshot progress() const;
  [[nodiscard]] telemetry::readiness ready() const;
  [[nodiscard]] bool alive() const { return heartbeat_.alive(); }

 private:
  bool stop_asked(int signal);
  void reload();
  bool replace_all(pipelines fresh);
  bool come_to_rest(engine::pipeline& p);
  void end(engine::pipeline& p);
  pipelines::iterator running(const engine::pipeline& successor);
  bool all_ended() const;
  void begin_stop();
  void give_up_when_late();
  int finish();

  const arguments& args_;
  session& session_;
  mutable std::mutex mutex_;
  pipelines running_;
  telemetry::heartbeat heartbeat_;
  bool stopping_ = false, abandoned_ = false;
  clock::time_point deadline_{};
  std::optional<watchdog> hung_;  // a plugin that does not come back must not hold up the end
};

int runner::run(signals& incoming) {
  for (auto& p : running_) p->start();
  while (!all_ended()) {
    heartbeat_.beat();
    const int signal = incoming.wait(100ms);
    if (signal == SIGHUP && !stopping_) reload();
    if (signal == SIGTERM || signal == SIGINT) {
      if (stopping_) {
        session_.log().warn({}, {},
                            "second signal: stopping at once; what was in flight is read again after the next start");
        std::_Exit(exit_at_once);
      }
      begin_stop();
    }
    for (auto& p : running_) p->supervise();
    give_up_when_late();
  }
  return finish();
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
      "not everything in flight could be written within shutdown_timeout; it stays unsettled and is read "
      "again after the next start");
  for (auto& p : running_) p->abandon();
  hung_.emplace(10s, exit_unsettled);
}

int runner::finish() {
  if (!hung_) hung_.emplace(10s, exit_unsettled);
  for (auto& p : running_) p->join();
  hung_.reset();
  const bool failed =
      std::any_of(running_.begin(), running_.end(), [](const auto& p) { return !p->failure().empty(); });
  for (auto& p : running_)
    if (const auto why = p->failure(); !why.empty()) session_.log().error(p->settings().name, {}, "failed: {}", why);
  std::scoped_lock lock(mutex_);
  running_.clear();
  if (failed) return exit_failed;
  session_.log().info({}, {}, "stopped");
  return abandoned_ ? exit_unsettled : exit_ok;
}

void runner::reload() {
  namespace em = telemetry::engine_metrics;
  auto loaded = load(args_);
  auto fresh = loaded.ok() ? session_.build(loaded, running_) : pipelines{};
  const bool good = loaded.ok();
  for (const auto& d : loaded.problems.sorted())
    session_.log().log(d.level == config::severity::error ? telemetry::log_level::error : telemetry::log_level::warn,
                       {}, {},
                       fmt::format("{}: {}{}{}", d.where.to_string(), d.message, d.hint.empty() ? "" : "; ", d.hint));
  const bool replaced = good && replace_all(std::move(fresh));
  session_.metrics().get(em::config_reloads_total, replaced ? "ok" : "failed").add();
  if (replaced)
    session_.log().info({}, {}, "configuration reloaded");
  else
    session_.log().error({}, {}, "configuration not reloaded: the old one runs on");
}

// The one of this name, or where it would be.
pipelines::iterator runner::running(const engine::pipeline& successor) {
  return std::ranges::find_if(running_, [&](const auto& p) { return p->settings().name == successor.settings().name; });
}

// Answers whether all that was configured could be done.
bool runner::replace_all(pipelines fresh) {
  // What takes as long as the slowest sink is done without the lock: health checks go on meanwhile.
  std::vector<engine::pipeline*> staying;
  bool all = true;
  for (const auto& f : fresh) {
    const auto old = running(*f);
    if (old == running_.end()) continue;
    const bool same = f->same_as(**old);
    const bool at_rest = !same && come_to_rest(**old);
    if (!at_rest) staying.push_back(old->get());
    all = all && (same || at_rest);
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
        f->start();
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

bool runner::come_to_rest(engine::pipeline& p) {
  const auto patience = p.settings().shutdown_timeout;
  const auto deadline = clock::now() + patience;
  while (!p.come_to_rest(100ms)) {
    heartbeat_.beat();
    if (clock::now() < deadline) continue;
    p.go_on();
    session_.log().error(p.settings().name, {},
                         "not reloaded: the records in flight could not be written within {} s (shutdown_timeout): a "
                         "sink is slow or down; the configuration stays as it was",
                         std::chrono::duration_cast<std::chrono::seconds>(patience).count());
    return false;
  }
  return true;
}

// A pipeline that is no longer configured.
void runner::end(engine::pipeline& p) {
  session_.log().info(p.settings().name, {}, "no longer configured: stopping");
  p.stop();
  for (const auto deadline = clock::now() + p.settings().shutdown_timeout; !p.ended() && clock::now() < deadline;) {
    heartbeat_.beat();
    std::this_thread::sleep_for(20ms);
  }
  p.abandon();
  p.join();
  session_.metrics().remove(p.settings().name);
}

telemetry::progress_snapshot runner::progress() const {
  std::scoped_lock lock(mutex_);
  telemetry::progress_snapshot all;
  for (const auto& p : running_) all.push_back(p->progress());
  return all;
}

telemetry::readiness runner::ready() const {
  std::scoped_lock lock(mutex_);
  telemetry::readiness now;
  for (const auto& p : running_) p->waiting(now.waiting);
  return now;
}

// The endpoint that the configuration asks for; null: none, or it can't be had.
std::unique_ptr<telemetry::http_server> serve(const config::http_settings& settings, session& s, const runner& r,
                                              bool& failed) {
  if (!settings.enabled) return nullptr;
  auto server = telemetry::http_server::start(
      telemetry::listen_address{settings.host, settings.port, false},
      {[&s] { return s.metrics().render(); }, [&r] { return r.ready(); }, [&r] { return r.alive(); }});
  failed = !server;
  if (failed) {
    s.log().error({}, {}, "{}", server.failure().message);
    return nullptr;
  }
  s.log().info({}, {}, "metrics and health: http://{}/", telemetry::to_string((*server)->address()));
  return std::move(*server);
}

}  // namespace

int run(const arguments& args) {
  signals incoming;
  auto loaded = load(args);
  session s(args, log_options(args, loaded));
  auto built = s.build(loaded);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  s.metrics().get(telemetry::engine_metrics::build_info, version).set(1);
  s.log().info({}, {}, "pipeline-host {} starts {} pipeline{}", version, built.size(), built.size() == 1 ? "" : "s");

  const auto http = loaded.pipelines.front().http;
  runner r(args, s, std::move(built));
  bool failed = false;
  const auto server = serve(http, s, r, failed);
  if (failed) return exit_failed;
  const telemetry::progress_reporter progress(s.log(), [&r] { return r.progress(); });
  return r.run(incoming);
}

}  // namespace pl::host
