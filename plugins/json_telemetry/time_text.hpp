// SPDX-License-Identifier: Apache-2.0
// These functions parse times as devices send them: numbers since 1970 in four units, and common forms of ISO 8601.
#pragma once

#include "json.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace json_telemetry {

enum class time_unit { automatic, seconds, milliseconds, microseconds, nanoseconds, iso8601 };

// How to interpret times without a zone.
struct zone_policy {
  bool reject = false;
  std::int32_t offset_seconds = 0;  // east of UTC
};
// Parse "utc", "reject" or an offset such as "+05:30" or "-0800".
[[nodiscard]] std::optional<zone_policy> parse_zone_policy(std::string_view text) noexcept;

// Nanoseconds since 1970-01-01T00:00:00Z, or the problem: the end of a sentence that begins with the value.
struct time_result {
  std::int64_t ns = 0;
  std::string_view problem;               // refers to a literal; empty: no problem
  time_unit unit = time_unit::automatic;  // as detected
};

// Convert a number. `automatic` detects the unit by size: below 10^11 seconds, below 10^14 milliseconds, below 10^17
// microseconds, else nanoseconds. This is correct for times from 1973 to 5138. Digits beyond nanoseconds are discarded.
[[nodiscard]] time_result time_of_number(const decimal& number, time_unit unit) noexcept;

// Parse ISO 8601, extended or basic, with T, t or a space, '.' or ',', optional seconds, zone as Z, +hh, +hhmm, +hh:mm.
// A date alone means its midnight. The leap second 23:59:60 UTC is read as the following second, as in POSIX.
[[nodiscard]] time_result time_of_iso8601(std::string_view text, const zone_policy& zone) noexcept;

// Parse a text of digits as a number if `unit` allows it, and any other text as ISO 8601.
[[nodiscard]] time_result time_of_text(std::string_view text, time_unit unit, const zone_policy& zone) noexcept;

}  // namespace json_telemetry
