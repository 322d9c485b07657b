// SPDX-License-Identifier: Apache-2.0
// What other threads ask of a lane: to start, to stop, to pause, to continue with another graph, and for its alerts.
#include "engine/lane.hpp"
#include "engine/open_alerts.hpp"

#include <utility>

namespace pl::engine {

void lane::start(pipeline_events& events, bool patient) {
  patient_ = patient;
  status_.report_to(events);
  thread_ = std::thread([this] { run(); });
}

void lane::stop() {
  std::scoped_lock lock(mutex_);
  phase_ = phase::stopping;
  changed_.notify_all();
  streams_.wake();
}

void lane::abandon() {
  status_.abandon();
  streams_.wake();
}

void lane::join() {
  if (thread_.joinable()) thread_.join();
}

bool lane::quiesce(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  if (phase_ == phase::running) {
    phase_ = phase::quiescing;
    state_stored_ = state_taken_ = false;
  }
  quiescent_ = false;
  streams_.wake();
  return changed_.wait_for(lock, timeout, [&] { return quiescent_ || ended_; });
}

void lane::resume() {
  std::scoped_lock lock(mutex_);
  run_again();
}

// Under the lock.
void lane::run_again() {
  if (phase_ == phase::quiescing) phase_ = phase::running;
  paused_ = quiescent_ = false;
  streams_.wake();
}

bool lane::quiescent() const {
  std::scoped_lock lock(mutex_);
  return quiescent_ || ended_;
}

bool lane::paused() const {
  std::scoped_lock lock(mutex_);
  return (paused_ && !busy_) || ended_;
}

void lane::read_again(const char* why) {
  std::scoped_lock lock(mutex_);
  status_.rejoin(why);
}

lane_graph lane::exchange_graph(lane_graph fresh, pipeline_events& events) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });  // from here on, the lane does not touch its graph
  status_.report_to(events);
  walk_.flush(false);
  connected_ = false;  // there may be transforms to start
  patient_ = true;
  hand_over_state(fresh);
  if (!graph_.stores.same_sinks(fresh.stores)) status_.rejoin("other sinks keep the positions now");
  auto old = std::exchange(graph_, std::move(fresh));
  share_clocks();
  run_again();
  return old;
}

// Let the transforms of the graph read the arrival clocks, which are kept only if one of them uses them.
void lane::share_clocks() {
  bool used = false;
  for (auto& slot : graph_.slots) {
    slot->unit->read_clocks(&arrivals_);
    used = used || slot->unit->uses_clocks();
  }
  arrivals_.want(used);
}

// Let the transforms that are new in the graph restore the stored state of the assigned streams. If that state does not
// include all records that were read, the streams are claimed again once these are settled, and read from where the
// state ends, as after a restart.
void lane::hand_over_state(lane_graph& fresh) {
  if (streams_.all().empty()) return;
  bool needed = false;
  for (auto& slot : fresh.slots) {
    slot->needs_state = slot->needs_state || !slot->started;
    needed = needed || (slot->needs_state && slot->unit->stateful());
  }
  if (needed && (streams_.in_flight() != 0 || !state_.stored_completely())) status_.rejoin(transforms_changed);
}

void lane::ask(const std::shared_ptr<alert_request>& request, std::string name) {
  request->expect(name);
  std::scoped_lock lock(mutex_);
  if (ended_) return request->respond(name, open_alerts(graph_));
  requests_.emplace_back(request, std::move(name));
  streams_.wake();
}

}  // namespace pl::engine
