// SPDX-License-Identifier: Apache-2.0
// The state machine of one rule on one device, free of streams, columns and clocks.
#pragma once

#include "rule.hpp"
#include "state.hpp"

#include <cstdint>
#include <optional>

namespace threshold_alert {

enum class event_kind : std::uint8_t { firing, changed, resolved, flapping };
constexpr std::uint32_t event_kinds = 4;

[[nodiscard]] constexpr std::string_view name_of(event_kind k) noexcept {
  constexpr std::string_view names[] = {"firing", "changed", "resolved", "flapping"};
  return names[static_cast<std::size_t>(k)];
}

// What one reading says: the highest level that it breaches, and the highest that it doesn't clear. -1: none.
struct verdict {
  std::int32_t breached = -1, held = -1;
};
[[nodiscard]] verdict judge(const rule& r, double value) noexcept;
// Equality has no hysteresis.
[[nodiscard]] verdict judge(const rule& r, const pl_cell& value) noexcept;

// Moves the runs on by one reading and answers the level reached after it: `for`, `times` and `keep_firing_for`.
// began: when level 0 began to be breached, if it was reached just now.
std::int32_t debounce(const rule& r, rule_state& s, verdict v, std::int64_t time, std::int64_t& began) noexcept;

struct moment {
  std::int64_t time;            // of the record, or of the deadline
  std::int64_t began;           // when the condition began, should the alert open now
  std::int64_t oldest = never;  // what lies before is not published
};

struct notice {
  event_kind kind;
  std::int32_t level;  // whose severity the event carries
  bool opens = false;  // a new alert: the caller gives it its id
  bool closes = false;
  bool publish = true;
  open_alert alert;  // as it was, should it be closed
};

// Sets the level and answers what there is to tell, at most one event.
[[nodiscard]] std::optional<notice> step(const rule& r, alert_state& s, std::int32_t level, const moment& now);

}  // namespace threshold_alert
