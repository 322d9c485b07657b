// SPDX-License-Identifier: Apache-2.0
// Times as devices send them: numbers since 1970 in four units, ISO 8601 in its common spellings.
#pragma once

#include "decimal.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace json_telemetry {

enum class time_unit { automatic, seconds, milliseconds, microseconds, nanoseconds, iso8601 };

// What times without a zone mean.
struct zone_policy {
  bool reject = false;
  std::int32_t offset_seconds = 0;  // east of UTC
};
// "utc", "reject", "+05:30", "-0800".
[[nodiscard]] std::optional<zone_policy> parse_zone_policy(std::string_view text) noexcept;

// Nanoseconds since 1970-01-01T00:00:00Z, or why there are none: the end of a sentence that begins with the value.
struct time_result {
  std::int64_t ns = 0;
  std::string_view problem;               // a literal; empty: none
  time_unit unit = time_unit::automatic;  // as detected
};

// automatic: by size. Below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds: right
// for all times from 1973 to 5138, with fractions. Digits beyond nanoseconds are cut off.
[[nodiscard]] time_result time_of_number(const decimal& number, time_unit unit) noexcept;

// ISO 8601, extended or basic, with T, t or a space, with '.' or ',', seconds optional, zone as Z, +hh, +hhmm, +hh:mm;
// a date alone is its midnight. 23:59:60 UTC, a leap second, is the second after it, as in POSIX.
[[nodiscard]] time_result time_of_iso8601(std::string_view text, const zone_policy& zone) noexcept;

// A text of digits is a number, if `unit` allows it; all else ISO 8601.
[[nodiscard]] time_result time_of_text(std::string_view text, time_unit unit, const zone_policy& zone) noexcept;

}  // namespace json_telemetry
