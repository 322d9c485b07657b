// SPDX-License-Identifier: Apache-2.0
// A rule as it is evaluated: checked, with its levels in ascending severity.
#pragma once

#include "glob.hpp"
#include "options.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace threshold_alert {

enum class condition : std::uint8_t { above, below, outside, equals, silence };

// One severity of a rule. Each level's range lies within that of the level below it, in the sense that who breaches
// this one breaches all milder ones: an alert rises and falls one ladder.
struct level {
  std::string severity;
  // Breached by v < low and v > high.
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  // Once breached it clears only within [clear_low, clear_high].
  double clear_low = -std::numeric_limits<double>::infinity();
  double clear_high = std::numeric_limits<double>::infinity();
  pl::scalar equals;
  std::int64_t missing_for = 0;  // ns
  std::size_t given_as = 0;      // index in the configuration's list of severities

  [[nodiscard]] bool breached_by(double v) const noexcept { return v > high || v < low; }
  [[nodiscard]] bool cleared_by(double v) const noexcept { return v >= clear_low && v <= clear_high; }
};

// What stands in the braces of a message.
enum class field : std::uint8_t {
  literal,
  rule,
  state,
  severity,
  metric,
  value,
  threshold,
  since,
  time,
  stream,
  position,
  key
};

struct message_piece {
  field what = field::literal;
  std::string text;     // literal
  std::size_t key = 0;  // field::key: index into group_by
};
using message_template = std::vector<message_piece>;

struct pattern {
  std::size_t key = 0;  // index into group_by
  glob accepts;
};

struct rule {
  std::string name, metric;       // metric: empty for a silence of the whole device
  std::uint64_t fingerprint = 0;  // of the name: how stored state finds its rule again
  condition when = condition::above;
  std::vector<level> levels;
  std::optional<rate_unit> rate;
  std::int64_t over = 0, hold_for = 0, keep_firing_for = 0, repeat_interval = 0;  // ns
  std::uint32_t times = 1;
  bool send_resolved = true;
  std::uint32_t flap_fires = 0;  // 0: flapping is not told apart
  std::int64_t flap_within = 0;
  std::optional<std::size_t> slot;  // where a key keeps the last reading, for rates and for silence in one metric
  std::vector<pattern> match;
  std::string labels;  // JSON; empty: none
  message_template text, resolved_text;
};

// Everything that `options` came to.
struct rule_set {
  std::vector<rule> rules;
  std::vector<std::string> group_by;
  std::string time_column;
  std::size_t slots = 0;  // readings that each key keeps
  std::int64_t max_age = 0, max_ahead = 0, forget_after = 0;
};

[[nodiscard]] constexpr std::int64_t nanoseconds_of(rate_unit u) noexcept {
  return u == rate_unit::second ? 1'000'000'000 : u == rate_unit::minute ? 60'000'000'000 : 3'600'000'000'000;
}

}  // namespace threshold_alert
