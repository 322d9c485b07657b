// SPDX-License-Identifier: Apache-2.0
// The wall clock of pipelines: the machine's or, in tests of pipelines, a simulated one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace pl::engine {

// A clock that stands still until it is set. Sources set it with the ends of streams that they observe ("liveness/1").
// Any thread.
class simulated_clock {
 public:
  explicit simulated_clock(std::int64_t now_ns) noexcept : now_(now_ns) {}
  [[nodiscard]] std::int64_t now_ns() const noexcept { return now_; }
  // Time does not go back.
  void advance_to(std::int64_t ns) noexcept {
    auto before = now_.load();
    while (before < ns && !now_.compare_exchange_weak(before, ns)) {
    }
  }

 private:
  std::atomic<std::int64_t> now_;
};

[[nodiscard]] inline std::int64_t wall_ns(const simulated_clock* clock) noexcept {
  if (clock != nullptr) return clock->now_ns();
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return now.count();
}

}  // namespace pl::engine
