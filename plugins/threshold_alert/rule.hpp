// SPDX-License-Identifier: Apache-2.0
// A compiled rule: validated, with its levels in ascending severity.
#pragma once

#include "glob.hpp"
#include "options.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace threshold_alert {

// The numbers are part of hashes in stored state (definition_of): append only.
enum class condition : std::uint8_t { above, below, outside, equals, silence, expression };

// The limits of a value.
struct bounds {
  // A value v breaches them if v < low or v > high.
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  // What is breached clears only within [clear_low, clear_high].
  double clear_low = -std::numeric_limits<double>::infinity();
  double clear_high = std::numeric_limits<double>::infinity();

  [[nodiscard]] bool breached_by(double v) const noexcept { return v > high || v < low; }
  [[nodiscard]] bool cleared_by(double v) const noexcept { return v >= clear_low && v <= clear_high; }
};

// An index into rule_set::expressions, of the expression that computes a limit or a condition for each record.
using computed_by = std::optional<std::size_t>;

// One severity of a rule. A value that breaches a level also breaches all lower levels, so that the levels of an alert
// form one sequence.
struct level : bounds {
  std::string severity;
  // A computed limit takes the place of the number in `bounds`. Without hysteresis, clear_from is the limit's own.
  computed_by low_from, high_from, clear_low_from, clear_high_from;
  computed_by when;  // condition::expression
  pl::scalar equals;
  std::int64_t missing_for = 0;  // ns
  std::size_t given_as = 0;      // index in the configuration's list of severities

  [[nodiscard]] bool has_computed_limits() const noexcept {
    return low_from || high_from || clear_low_from || clear_high_from;
  }
};

// The parts of a message template: literal text and placeholders.
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
  key,
  device  // all values of group_by, in default messages
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

// Why the configuration, and not a reading or an arrival, resolves an alert.
enum class end_reason : std::uint8_t { none, rule_removed, device_excluded, rule_changed, group_changed };

struct rule {
  std::string name, metric;               // metric: empty for silence of the whole device
  std::uint64_t fingerprint = 0;          // hash of the name, which identifies the rule in stored state
  std::uint64_t definition = 0;           // hash of the condition
  end_reason retired = end_reason::none;  // the rule exists only in stored state, until its alerts are resolved
  condition when = condition::above;
  std::vector<level> levels;
  std::vector<std::string> expressions;  // the texts of its computed limits and conditions, in order
  std::optional<rate_unit> rate;
  std::int64_t over = 0, hold_for = 0, keep_firing_for = 0, repeat_interval = 0;  // ns
  std::uint32_t times = 1;
  bool send_resolved = true;
  std::uint32_t flap_fires = 0;  // 0: flapping is not detected
  std::int64_t flap_within = 0;
  std::optional<std::size_t> slot;  // index of the key's last reading, for rates and for silence in one metric
  std::vector<pattern> match;
  std::string labels;                               // JSON; empty: none
  message_template text, held_text, resolved_text;  // held_text: the value does not breach the alert's level
};

// An expression among the options, to be compiled.
struct rule_expression {
  std::string option, text;
  bool is_condition = false;  // else a limit
};

// The compiled options. Retired rules follow the configured ones.
struct rule_set {
  std::vector<rule> rules;
  std::size_t configured = 0;  // number of rules that are configured
  std::vector<rule_expression> expressions;
  std::vector<std::string> group_by;
  std::uint32_t grouping = 0;  // hash of group_by
  std::string time_column;
  std::size_t slots = 0;  // number of readings stored for each key
  std::int64_t max_age = 0, max_ahead = 0, forget_after = 0;
  std::uint32_t max_keys = UINT32_MAX;  // of one stream
  full_policy when_full = full_policy::reject;
};

[[nodiscard]] constexpr std::int64_t nanoseconds_of(rate_unit u) noexcept {
  return u == rate_unit::second ? 1'000'000'000 : u == rate_unit::minute ? 60'000'000'000 : 3'600'000'000'000;
}

}  // namespace threshold_alert
