// SPDX-License-Identifier: Apache-2.0
// The circuit breaker of a writer whose sink has `on_failure: dead_letters`. It opens when the sink has failed for
// `retry.give_up_after`. While it is open, rows become dead letters without an attempt, except for probes.
// Threads: the writer's, except for the functions marked "any thread".
#pragma once

#include "engine/backoff.hpp"
#include "engine/call_effects.hpp"
#include "engine/events_link.hpp"
#include "engine/instance.hpp"
#include "engine/node_meters.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace pl::engine {

class circuit_breaker {
 public:
  circuit_breaker(const config::node& settings, const instance& sink, std::shared_ptr<node_meters> meters);
  ~circuit_breaker();
  circuit_breaker(const circuit_breaker&) = delete;
  circuit_breaker& operator=(const circuit_breaker&) = delete;

  [[nodiscard]] bool enabled() const noexcept { return enabled_; }  // any thread
  [[nodiscard]] bool open() const noexcept { return open_; }        // any thread
  // Return whether rows become dead letters now, without an attempt.
  [[nodiscard]] bool rejects_now() const { return open_ && clock::now() < next_probe_; }
  // Return whether the writer gives up on what has just failed, instead of retrying it.
  [[nodiscard]] bool gives_up(const backoff& pause) const { return enabled_ && (open_ || pause.exhausted()); }

  // Open, or stay open after a probe that failed, and log it. pause: of the attempts so far.
  void trip(const failure& why, const backoff& pause);
  // The sink works. Return what to add to the log line for its recovery.
  std::string close();

  // Any thread. Make dead letters of all selected rows, and count them. Return their number.
  std::uint64_t dead_letter(std::span<const batch_ref> batches, const events_link& events);
  [[nodiscard]] std::string reason() const;  // any thread; for readiness; empty: closed

 private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] std::string last_failure() const;

  const bool enabled_;
  const instance& sink_;
  const std::shared_ptr<node_meters> meters_;
  std::atomic<bool> open_{false};
  std::atomic<std::uint64_t> given_up_{0};  // rows, since it opened
  clock::time_point next_probe_{};
  std::optional<backoff> pause_;  // between probes
  mutable std::mutex mutex_;
  std::string why_;  // of the last failure
};

}  // namespace pl::engine
