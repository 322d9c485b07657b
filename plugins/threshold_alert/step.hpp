// SPDX-License-Identifier: Apache-2.0
// The state machine of one rule on one device. It does not depend on streams, columns or clocks.
#pragma once

#include "rule.hpp"
#include "state.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace threshold_alert {

enum class event_kind : std::uint8_t { firing, changed, resolved, flapping };
constexpr std::uint32_t event_kinds = 4;

[[nodiscard]] constexpr std::string_view name_of(event_kind k) noexcept {
  constexpr std::string_view names[] = {"firing", "changed", "resolved", "flapping"};
  return names[static_cast<std::size_t>(k)];
}

// The evaluation of one reading: the highest level that it breaches, and the highest level that it does not clear.
// -1: none.
struct verdict {
  std::int32_t breached = -1, held = -1;
};
[[nodiscard]] verdict judge(const rule& r, double value) noexcept;
// Likewise with limits that were computed for this reading, one for each level.
[[nodiscard]] verdict judge(std::span<const bounds> levels, double value) noexcept;
// Evaluate a value against a rule with `equals`, which has no hysteresis.
[[nodiscard]] verdict judge(const rule& r, const pl_cell& value) noexcept;

// Return the verdict after a change of the rule's condition: hysteresis holds only what a reading has breached.
[[nodiscard]] constexpr verdict without_hysteresis(verdict v) noexcept { return {v.breached, v.breached}; }

// Advance the runs by one reading, as `for`, `times` and `keep_firing_for` require, and return the level reached.
// Set `began` to the time at which the breach of level 0 began, if this reading reaches level 0.
std::int32_t debounce(const rule& r, rule_state& s, verdict v, std::int64_t time, std::int64_t& began) noexcept;

struct moment {
  std::int64_t time;            // of the record, or of the deadline
  std::int64_t began;           // when the condition began, if the alert opens now
  std::int64_t oldest = never;  // events before this time are not published
};

struct notice {
  event_kind kind;
  std::int32_t level;  // whose severity the event carries
  bool opens = false;  // a new alert: the caller must set its id
  bool closes = false;
  bool publish = true;
  open_alert alert;  // its last state, if the alert is closed
};

// Set the level and return the resulting event, if any.
[[nodiscard]] std::optional<notice> step(const rule& r, alert_state& s, std::int32_t level, const moment& now);

}  // namespace threshold_alert
