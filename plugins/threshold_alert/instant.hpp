// SPDX-License-Identifier: Apache-2.0
// Saturating arithmetic on times in nanoseconds: results stay within [never, no_deadline].
#pragma once

#include "state.hpp"

#include <cstdint>

namespace threshold_alert {

[[nodiscard]] constexpr std::int64_t plus(std::int64_t time,
                                          std::int64_t duration) noexcept {  // durations are never negative
  return time > no_deadline - duration ? no_deadline : time + duration;
}
[[nodiscard]] constexpr std::int64_t minus(std::int64_t time, std::int64_t duration) noexcept {
  return time < never + duration ? never : time - duration;
}
[[nodiscard]] constexpr std::int64_t shifted(std::int64_t time, std::int64_t by) noexcept {
  return by < 0 ? minus(time, by == never ? no_deadline : -by) : plus(time, by);
}
// Return later - earlier in seconds; requires later >= earlier. Subtract as integers, because a double cannot represent
// present-day timestamps to the nanosecond.
[[nodiscard]] constexpr double seconds_between(std::int64_t earlier, std::int64_t later) noexcept {
  return static_cast<double>(static_cast<std::uint64_t>(later) - static_cast<std::uint64_t>(earlier)) / 1e9;
}

}  // namespace threshold_alert
