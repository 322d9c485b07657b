// SPDX-License-Identifier: Apache-2.0
// What is remembered of one (stream, key). Plain values, which codec.hpp writes and reads. Two halves that change at
// very different rates are kept apart: the trace changes with each record, the alerts with each event.
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

// How far one level of a rule is on its way: while it isn't reached, the run of readings that breach it; while it is,
// the run of readings that are clear.
struct run {
  std::int64_t since = 0;  // time of the first of them
  std::uint32_t readings = 0;
  bool operator==(const run&) const = default;
};

// One open alert.
struct open_alert {
  uuid id{};
  std::int64_t since = 0;     // when the condition began to hold
  std::int64_t notified = 0;  // time of the last event about it
  std::int32_t level = 0;     // as of the last event
  std::int32_t told = -1;     // level as last published; -1: not at all (too old when it fired)
  bool flapping = false;
  bool operator==(const open_alert&) const = default;
};

// What changes with the events of one rule.
struct alert_state {
  std::int32_t level = -1;          // highest level reached, with hysteresis and delays; -1: none
  std::int64_t last_flip = never;   // when level last went from or to -1
  std::vector<std::int64_t> fired;  // recent firings, for telling flapping
  std::optional<open_alert> alert;
  bool operator==(const alert_state&) const = default;
};

// A reading that a rule goes back to: for rates the last value, for silence in one metric the last time it came.
struct reading {
  std::int64_t time = never;
  union {
    double value;
    std::uint64_t position;
  };
  reading() noexcept : position(PL_UNKNOWN) {}
};

// One rule of one key, kept only while there is something to remember.
struct rule_state {
  std::uint32_t rule = 0;
  std::vector<run> runs;  // one for each level
  alert_state alerts;

  // Firings before the window in which flapping is counted are nothing to remember.
  [[nodiscard]] bool blank(std::int64_t window_begins) const noexcept {
    if (alerts.alert || alerts.level >= 0) return false;
    for (const auto& r : runs)
      if (r.readings != 0) return false;
    return alerts.fired.empty() || alerts.fired.back() <= window_begins;
  }
};

}  // namespace threshold_alert
