// SPDX-License-Identifier: Apache-2.0
// Values on their way out: as cells and as text.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

#include <pipeline/batch.hpp>

#include <string>

namespace pl::cel {

enum class byte_style : std::uint8_t {
  sdk,    // as pipeline/json.hpp writes bytes: a string if they are UTF-8, otherwise {"base64": "..."}
  latin1  // a string of the characters U+0000 to U+00FF
};

// Append a value as one line of JSON: keys of maps as strings, NaN, infinities, times and durations as strings. Return
// false if the budget is exhausted.
bool append_json_value(evaluation& e, std::string& out, const value& v, byte_style bytes);

// Append a value for people: a string as it is, lists and maps as they are written in an expression.
bool append_text_value(evaluation& e, std::string& out, const value& v);

// Return the cell of a value, with text in memory of `owner`. If the value does not fit, return null and set `error`.
[[nodiscard]] cell to_cell(evaluation& e, const value& v, batch_builder& owner, value& error);

}  // namespace pl::cel
