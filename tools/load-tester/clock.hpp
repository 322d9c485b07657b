// SPDX-License-Identifier: Apache-2.0
// A wall clock that never jumps, and parsers for times.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pl::load {

// Return wall-clock microseconds. They advance with the monotonic clock since the program's start, so that a correction
// of the system time does not look like latency.
inline std::int64_t now_us() {
  using namespace std::chrono;
  static const auto offset = system_clock::now().time_since_epoch() - steady_clock::now().time_since_epoch();
  return duration_cast<microseconds>(steady_clock::now().time_since_epoch() + offset).count();
}

// Parse a time such as 2026-11-24T18:10:23.5Z to microseconds since the epoch.
std::optional<std::int64_t> parse_utc(std::string_view text);

// Parse a duration such as 250ms, 10s, 1.5m or 2h to nanoseconds. A number without a unit is in seconds.
std::optional<std::int64_t> parse_duration(std::string_view text);

}  // namespace pl::load
