// SPDX-License-Identifier: Apache-2.0
// Wall-clock time that never jumps, and times as text.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pl::load {

// Wall-clock microseconds, counted on the monotonic clock from the program's start on: a correction of the system's time
// while it runs must not look like latency.
inline std::int64_t now_us() {
  using namespace std::chrono;
  static const auto offset = system_clock::now().time_since_epoch() - steady_clock::now().time_since_epoch();
  return duration_cast<microseconds>(steady_clock::now().time_since_epoch() + offset).count();
}

// 2026-11-24T18:10:23.5Z to microseconds since the epoch.
std::optional<std::int64_t> parse_utc(std::string_view text);

// 250ms, 10s, 1.5m, 2h; a number without a unit is seconds. To nanoseconds.
std::optional<std::int64_t> parse_duration(std::string_view text);

}  // namespace pl::load
