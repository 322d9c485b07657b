// SPDX-License-Identifier: Apache-2.0
// The parts of the state of one (stream, key), as plain values. codec.hpp encodes them in two records: the trace (runs
// and readings), which changes with each record of the device, and the alerts, which change with each event.
#pragma once

#include "alert_id.hpp"

#include <pipeline/abi.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace threshold_alert {

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max();

// A run of consecutive readings for one level of a rule. While the level is not reached, the run consists of readings
// that breach it. While the level is reached, the run consists of readings that clear it.
struct run {
  std::int64_t since = 0;  // time of the first reading
  std::uint32_t readings = 0;
  bool operator==(const run&) const = default;
};

// open_alert.published_level: never published (too old when it fired), or published with a severity that the rule no
// longer has at that level.
constexpr std::int32_t unpublished = -1, published_otherwise = -2;

// One open alert.
struct open_alert {
  uuid id{};
  std::int64_t since = 0;     // when the condition began to hold
  std::int64_t notified = 0;  // time of its last event
  std::int32_t level = 0;     // level in its last event
  std::int32_t published_level = unpublished;
  bool flapping = false;
  std::optional<double> value;  // of its last event; none: not a number
  bool operator==(const open_alert&) const = default;
};

// The part of a rule's state that changes with its events.
struct alert_state {
  std::int32_t level = -1;          // highest level reached, with hysteresis and delays; -1: none
  std::int64_t last_flip = never;   // when level last went from or to -1
  std::vector<std::int64_t> fired;  // times of recent firings, to detect flapping
  std::optional<open_alert> alert;
  bool operator==(const alert_state&) const = default;
};

// A reading that a rule stores. A rule with `rate` stores its own time and value, as the reference for the next rate. A
// silence rule with a metric stores the time in which silence is measured (key_node::seen) and the position.
struct reading {
  std::int64_t time = never;
  union {
    double value;
    std::uint64_t position;
  };
  reading() noexcept : position(PL_UNKNOWN) {}
};

// The state of one rule for one key. It is deleted when blank() returns true.
struct rule_state {
  std::uint32_t rule = 0;
  std::vector<run> runs;  // one for each level
  alert_state alerts;
  // The rule has changed since the alert was evaluated: it does not hold by hysteresis until a reading breaches it.
  bool recheck = false;
  // The values read at the newest time, to recognise copies of a reading.
  std::int64_t read_at = never;
  std::vector<std::uint64_t> values;

  // Return whether the state can be deleted. Firings before the flapping window do not count. newest: a copy of a reading
  // of this time may still follow.
  [[nodiscard]] bool blank(std::int64_t window_begins, std::int64_t newest = never) const noexcept {
    if (alerts.alert || alerts.level >= 0) return false;
    if (read_at != never && read_at == newest) return false;
    for (const auto& r : runs)
      if (r.readings != 0) return false;
    return alerts.fired.empty() || alerts.fired.back() <= window_begins;
  }
};

}  // namespace threshold_alert
