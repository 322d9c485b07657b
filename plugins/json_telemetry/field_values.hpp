// SPDX-License-Identifier: Apache-2.0
// From a JSON value to the cell of a column, or a sentence that says why not.
#pragma once

#include "plan.hpp"

#include <string>

namespace json_telemetry {

struct value_rules {
  time_unit unit = time_unit::automatic;
  zone_policy zone;
  on_nul nul = on_nul::reject;
};

// `value` is not null. On failure `why` is the reason for the dead letters and `to` is left alone. Of a time, `unit`
// tells what it was taken for.
[[nodiscard]] bool read_field(const json_value& value, const column_plan& column, const value_rules& rules,
                              text_arena& arena, pl::cell& to, std::string& why);
[[nodiscard]] bool read_time(const json_value& value, const column_plan& column, const value_rules& rules,
                             text_arena& arena, pl::cell& to, time_unit& unit, std::string& why);

// JSON text without its \u0000 escapes. `json` is valid.
void append_without_nul(std::string& out, std::string_view json);

}  // namespace json_telemetry
