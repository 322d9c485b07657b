// SPDX-License-Identifier: Apache-2.0
#include "schedule.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pl::load {
namespace {
constexpr double second = 1e9;
}

// While the rate grows linearly, n = rate * t^2 / (2 * ramp) messages are due at time t. Solve for t.
std::int64_t schedule::steady_due() const noexcept {
  if (options_.rate <= 0) return 0;
  const auto n = static_cast<double>(steady_);
  const auto ramp = static_cast<double>(options_.ramp_ns) / second;
  const auto within_ramp = options_.rate * ramp / 2;
  const auto t = n < within_ramp ? std::sqrt(2 * n * ramp / options_.rate) : ramp + (n - within_ramp) / options_.rate;
  return static_cast<std::int64_t>(t * second);
}

std::int64_t schedule::burst_due() const noexcept {
  if (options_.burst == 0 || options_.rate <= 0) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(bursts_ + 1) * options_.burst_every_ns;
}

std::optional<std::int64_t> schedule::due() const noexcept {
  if (options_.count != 0 && taken_ >= options_.count) return std::nullopt;
  const auto at = std::min(steady_due(), burst_due());
  if (options_.duration_ns != 0 && at >= options_.duration_ns) return std::nullopt;
  return at;
}

void schedule::take() noexcept {
  ++taken_;
  if (steady_due() <= burst_due()) {
    ++steady_;
  } else if (++in_burst_ == options_.burst) {
    in_burst_ = 0;
    ++bursts_;
  }
}

}  // namespace pl::load
