// SPDX-License-Identifier: Apache-2.0
#include "engine/circuit_breaker.hpp"

#include "telemetry/progress.hpp"

#include <fmt/format.h>

#include <utility>

namespace pl::engine {

circuit_breaker::circuit_breaker(const config::node& settings, const instance& sink,
                                 std::shared_ptr<node_meters> meters)
    : enabled_(settings.on_failure == config::failure_policy::dead_letters), sink_(sink), meters_(std::move(meters)) {}

circuit_breaker::~circuit_breaker() {
  if (open_) meters_->circuit_open.add(-1);
}

void circuit_breaker::trip(const failure& why, const backoff& pause) {
  if (!open_) pause_ = pause;
  const auto wait = pause_->next();
  next_probe_ = clock::now() + wait;
  {
    std::scoped_lock lock(mutex_);
    why_ = why.message;
  }
  const auto seconds = std::chrono::duration<double>(wait).count();
  if (open_.exchange(true))
    return sink_.log(telemetry::log_level::warn,
                     fmt::format("still fails: {}; {} of its rows went to the dead letters so far; next attempt in "
                                 "{:.1f} s",
                                 why.message, telemetry::format_count(given_up_), seconds));
  meters_->circuit_open.add(1);
  sink_.log(
      telemetry::log_level::error,
      fmt::format("{} (gave up after {:.1f} s: retry.give_up_after); its rows go to the dead letters until it works "
                  "again (on_failure: dead_letters); next attempt in {:.1f} s",
                  why.message, std::chrono::duration<double>(pause.lasted()).count(), seconds));
}

std::string circuit_breaker::close() {
  if (!open_.exchange(false)) return {};
  meters_->circuit_open.add(-1);
  pause_.reset();
  const auto rows = given_up_.exchange(0);
  if (rows == 0) return {};
  return fmt::format(
      "; {} row{} went to the dead letters meanwhile: 'pipeline-host dead-letters retry --sink {}' delivers "
      "them",
      telemetry::format_count(rows), rows == 1 ? "" : "s", sink_.node());
}

std::uint64_t circuit_breaker::dead_letter(std::span<const batch_ref> batches, const events_link& events) {
  const auto why = "not delivered, because the sink did not work: " + last_failure();
  std::vector<rejection> rows;
  for (const auto& b : batches) {
    meters_->received(*b);
    for (const auto row : b->view().selection()) rows.push_back({batch_ref::share(*b), row, why});
  }
  if (rows.empty()) return 0;
  meters_->rejected(rows.size());
  meters_->given_up.add(static_cast<double>(rows.size()));
  given_up_ += rows.size();
  events.call([&](auto& to) { to.rows_rejected(rows, sink_.node()); });
  return rows.size();
}

std::string circuit_breaker::last_failure() const {
  std::scoped_lock lock(mutex_);
  return why_;
}

std::string circuit_breaker::reason() const {
  if (!open_) return {};
  return fmt::format("gave up, rows go to the dead letters: {}", last_failure());
}

}  // namespace pl::engine
