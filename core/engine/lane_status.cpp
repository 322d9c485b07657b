// SPDX-License-Identifier: Apache-2.0
#include "engine/lane_status.hpp"

#include <fmt/format.h>

#include <utility>

namespace pl::engine {

lane_status::lane_status(const instance& source, std::shared_ptr<node_meters> meters)
    : source_(source), meters_(std::move(meters)) {}

void lane_status::fail(const instance& unit, std::string_view why) {
  failed_ = true;
  phase(fmt::format("failed: {}", why));
  events().node_failed(unit.node(), why);
}

void lane_status::phase(std::string why) {
  std::scoped_lock lock(mutex_);
  phase_ = std::move(why);
}

void lane_status::claim_refused(std::string why) {
  std::scoped_lock lock(mutex_);
  claims_ = std::move(why);
  claims_since_.attempt_failed();
}

void lane_status::no_claim_refused() {
  std::scoped_lock lock(mutex_);
  claims_.clear();
}

void lane_status::claimed() {
  std::scoped_lock lock(mutex_);
  claims_.clear();
  if (claims_since_.ongoing())
    source_.log(telemetry::log_level::info, "claims its streams " + claims_since_.end_of_state());
}

void lane_status::source_started(bool yes) { source_started_ = yes; }

void lane_status::receiving(std::string_view why_not) {
  std::scoped_lock lock(mutex_);
  not_receiving_ = why_not;
  if (!why_not.empty()) {
    if (received_ && !not_receiving_since_.ongoing()) not_receiving_since_.attempt_failed();
    return;
  }
  received_ = true;
  if (not_receiving_since_.ongoing())
    source_.log(telemetry::log_level::info, "can receive records " + not_receiving_since_.end_of_state());
}

void lane_status::state_not_written(std::string_view why) {
  std::scoped_lock lock(mutex_);
  state_ = why;
  if (!state_since_.ongoing())
    source_.log(telemetry::log_level::error,
                fmt::format("{}; it is retried every second, and reading stops if too many changes wait", why));
  state_since_.attempt_failed();
}

void lane_status::state_written() {
  if (!state_since_.ongoing()) return;
  std::scoped_lock lock(mutex_);
  state_.clear();
  source_.log(telemetry::log_level::info, "stores the state of transforms " + state_since_.end_of_state());
}

std::chrono::nanoseconds lane_status::retry_after(const failure& failed, backoff& pause, const instance& unit) {
  const auto wait = pause.next();
  meters_->retries.add();
  {
    std::scoped_lock lock(mutex_);
    auto& known = retrying_[unit.node()];
    known.why = failed.message;
    known.since.attempt_failed();
    any_retrying_ = true;
  }
  unit.log(telemetry::log_level::warn, fmt::format("{}; attempt {} in {:.1f} s", failed.message, pause.attempts() + 1,
                                                   std::chrono::duration<double>(wait).count()));
  return wait;
}

void lane_status::recovered(const instance& unit, std::optional<std::uint64_t> waiting) {
  if (!any_retrying_) return;  // called for each poll
  std::scoped_lock lock(mutex_);
  const auto known = retrying_.find(unit.node());
  if (known == retrying_.end()) return;
  unit.log(telemetry::log_level::info, known->second.since.end(waiting));
  retrying_.erase(known);
  any_retrying_ = !retrying_.empty();
}

std::string lane_status::retrying(std::string_view node) const {
  const auto known = retrying_.find(node);
  return known == retrying_.end() ? std::string() : "retrying: " + known->second.why;
}

std::vector<lane_status::reason> lane_status::not_ready() const {
  std::scoped_lock lock(mutex_);
  std::vector<reason> all;
  for (const auto& [node, known] : retrying_) all.push_back({node, "retrying: " + known.why});
  for (const auto* why : {&not_receiving_, &claims_, &state_})
    if (!why->empty()) all.push_back({source_.node(), *why});
  if (!phase_.empty() && (all.empty() || failed_)) all.push_back({source_.node(), phase_});
  return all;
}

std::string lane_status::not_accepting() const {
  std::scoped_lock lock(mutex_);
  if (failed_) return phase_;
  if (auto why = retrying(source_.node()); !why.empty()) return why;
  if (!source_started_) return phase_.empty() ? "not started" : phase_;
  return not_receiving_;
}

}  // namespace pl::engine
