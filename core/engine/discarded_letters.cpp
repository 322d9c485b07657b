// SPDX-License-Identifier: Apache-2.0
#include "engine/discarded_letters.hpp"

#include "telemetry/engine_metrics.hpp"
#include "telemetry/progress.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

namespace {

constexpr std::size_t most_runs = 200;  // of positions, in one line of the log

}  // namespace

void discarded_letters::add(std::span<const rejection> rejected, std::string_view node) {
  if (rejected.empty()) return;
  common_.metrics.get(telemetry::engine_metrics::discarded_total, pipeline_, node)
      .add(static_cast<double>(rejected.size()));
  const std::scoped_lock lock(mutex_);
  for (const auto& r : rejected) {
    const auto view = r.of->view();
    const bool placed = r.of->nranges != 0;
    auto& l = lost_[{std::string(node), placed ? std::string(view.stream(r.row)) : std::string()}];
    if (l.records++ == 0) l.reason = r.why;
    if (placed && r.of->pos != nullptr) l.positions.add(view.position(r.row));
  }
  const bool many = std::ranges::any_of(lost_, [](const auto& l) { return l.second.positions.runs() >= most_runs; });
  if (many) report_locked();
}

void discarded_letters::report(std::chrono::nanoseconds pause) {
  const std::scoped_lock lock(mutex_);
  if (!lost_.empty() && std::chrono::steady_clock::now() - reported_at_ >= pause) report_locked();
}

void discarded_letters::report_locked() {
  for (const auto& [place, l] : lost_) {
    const auto positions = l.positions.text();
    common_.log.report(
        telemetry::log_level::error, pipeline_, place.first,
        fmt::format("LOST: {} rejected record{} not in the dead letters, because the dead-letter sink fails and its "
                    "queue is full (when_full: discard); stream {}, positions {}; the first reason: {}",
                    telemetry::format_count(l.records), l.records == 1 ? " is" : "s are",
                    place.second.empty() ? "unknown" : place.second, positions.empty() ? "unknown" : positions,
                    l.reason));
  }
  lost_.clear();
  reported_at_ = std::chrono::steady_clock::now();
}

}  // namespace pl::engine
