// SPDX-License-Identifier: Apache-2.0
// These functions convert a JSON value to the cell of a column, or return the reason why it does not fit.
#pragma once

#include "plan.hpp"

#include <string>

namespace json_telemetry {

struct value_rules {
  time_unit unit = time_unit::automatic;
  zone_policy zone;
  on_nul nul = on_nul::reject;
};

// Convert `value`, which must not be null. On failure, set `why` to the reason for the dead letter and leave `to`
// unchanged. read_time sets `unit` to the unit that the time was read in.
[[nodiscard]] bool read_field(const json_value& value, const column_plan& column, const value_rules& rules,
                              text_arena& arena, pl::cell& to, std::string& why);
[[nodiscard]] bool read_time(const json_value& value, const column_plan& column, const value_rules& rules,
                             text_arena& arena, pl::cell& to, time_unit& unit, std::string& why);

// Write `json`, which must be valid, without its \u0000 escapes. Return the end, which is at most json.size() after `to`.
[[nodiscard]] char* write_without_nul(char* to, std::string_view json) noexcept;

}  // namespace json_telemetry
