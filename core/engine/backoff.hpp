// SPDX-License-Identifier: Apache-2.0
// Exponential back-off with jitter: how long to wait before the next try.
#pragma once

#include "config/pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <random>

namespace pl::engine {

class backoff {
 public:
  explicit backoff(const config::retry_settings& settings)
      : settings_(settings), next_(settings.initial), random_(std::random_device{}()) {}

  // Some of it random, so that many hosts don't come back in the same instant.
  std::chrono::nanoseconds next() {
    const auto full = static_cast<double>(next_.count());
    std::uniform_real_distribution<double> share(1 - settings_.jitter, 1);
    next_ = std::min(settings_.max, std::chrono::nanoseconds(static_cast<std::int64_t>(full * settings_.multiplier)));
    ++tries_;
    return std::chrono::nanoseconds(static_cast<std::int64_t>(full * share(random_)));
  }
  [[nodiscard]] int tries() const noexcept { return tries_; }
  [[nodiscard]] bool exhausted() const {
    return settings_.give_up_after && std::chrono::steady_clock::now() - began_ >= *settings_.give_up_after;
  }

 private:
  config::retry_settings settings_;
  std::chrono::nanoseconds next_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  int tries_ = 0;
  std::minstd_rand random_;
};

}  // namespace pl::engine
