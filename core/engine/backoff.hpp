// SPDX-License-Identifier: Apache-2.0
// Computes how long to wait before the next attempt: exponential back-off with jitter. Not thread-safe.
#pragma once

#include "config/pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

namespace pl::engine {

class backoff {
 public:
  // seed: called once, before the first wait. Each apply and write has a back-off, and the random device is slow.
  using seed_source = std::uint32_t (*)();
  explicit backoff(
      const config::retry_settings& settings, seed_source seed = [] { return std::random_device{}(); })
      : settings_(settings), next_(settings.initial), seed_(seed) {}

  // Part of the wait is random, so that many hosts do not retry at the same instant.
  std::chrono::nanoseconds next() {
    if (!random_) random_.emplace(seed_());
    const auto full = static_cast<double>(next_.count());
    std::uniform_real_distribution<double> share(1 - settings_.jitter, 1);
    next_ = std::min(settings_.max, std::chrono::nanoseconds(static_cast<std::int64_t>(full * settings_.multiplier)));
    ++attempts_;
    const std::chrono::nanoseconds wait(static_cast<std::int64_t>(full * share(*random_)));
    if (!settings_.give_up_after || exhausted()) return wait;
    return std::min(wait, *settings_.give_up_after - lasted());  // the last attempt is made when the time has passed
  }
  [[nodiscard]] int attempts() const noexcept { return attempts_; }
  [[nodiscard]] std::chrono::nanoseconds lasted() const { return std::chrono::steady_clock::now() - began_; }
  [[nodiscard]] bool exhausted() const { return settings_.give_up_after && lasted() >= *settings_.give_up_after; }

 private:
  config::retry_settings settings_;
  std::chrono::nanoseconds next_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int attempts_ = 0;
  seed_source seed_;
  std::optional<std::minstd_rand> random_;
};

}  // namespace pl::engine
