// SPDX-License-Identifier: Apache-2.0
// The options of threshold_alert, as declared to the host.
#pragma once

#include <pipeline/options.hpp>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace threshold_alert {

using nanoseconds = std::chrono::nanoseconds;
using text_map = std::map<std::string, std::string>;

enum class rate_unit { second, minute, hour };
constexpr std::array<std::pair<std::string_view, rate_unit>, 3> choices(rate_unit) {
  return {{{"second", rate_unit::second}, {"minute", rate_unit::minute}, {"hour", rate_unit::hour}}};
}

struct flapping_options {
  std::uint32_t fires = 4;
  nanoseconds within = std::chrono::minutes(10);

  static pl::option_table<flapping_options> table();
};

struct level_options {
  std::string severity;
  pl::scalar above, below;  // a number, or an expression
  std::optional<std::vector<pl::scalar>> outside;
  pl::scalar equals;
  std::optional<nanoseconds> missing_for;
  std::optional<std::string> when;
  pl::scalar clear_below, clear_above;

  static pl::option_table<level_options> table();
};

struct rule_options {
  std::string name, metric;
  pl::scalar above, below;
  std::optional<std::vector<pl::scalar>> outside;
  pl::scalar equals;
  std::optional<nanoseconds> missing_for;
  std::optional<std::string> when;
  std::optional<rate_unit> rate_of_change;
  nanoseconds over{0};
  pl::scalar clear_below, clear_above;
  std::optional<std::string> severity;
  std::vector<level_options> severities;
  nanoseconds hold_for{0};
  std::uint32_t times = 1;
  nanoseconds keep_firing_for{0};
  nanoseconds repeat_interval{0};
  bool send_resolved = true;
  std::optional<flapping_options> flapping;
  text_map match, labels;
  std::optional<std::string> message, resolved_message;

  static pl::option_table<rule_options> table();
};

// What happens to a record of a device that is not known, if the state of no more devices can be kept.
enum class full_policy { reject, evict_oldest };
constexpr std::array<std::pair<std::string_view, full_policy>, 2> choices(full_policy) {
  return {{{"reject", full_policy::reject}, {"evict_oldest", full_policy::evict_oldest}}};
}

struct options {
  std::vector<rule_options> rules;
  std::vector<std::string> group_by = {"user_id", "device_id"};
  std::string time_column = "time";
  std::vector<std::string> severity_order = {"info", "warning", "critical"};
  nanoseconds max_age{0};
  nanoseconds max_ahead = std::chrono::hours(1);
  nanoseconds forget_after = std::chrono::hours(24 * 30);
  std::uint32_t max_keys = 1'000'000;
  full_policy when_full = full_policy::reject;
  text_map labels;

  static pl::option_table<options> table();
};

}  // namespace threshold_alert
