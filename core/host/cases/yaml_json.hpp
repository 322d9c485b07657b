// SPDX-License-Identifier: Apache-2.0
// Values of a file of cases as JSON. Pure functions.
#pragma once

#include "config/value.hpp"

#include <string>

namespace pl::host {

// Return the value as one JSON document. A scalar without quotes is a number, true, false or null if it looks like one
// in JSON, and otherwise text.
[[nodiscard]] std::string to_json(const config::value& v);

// Return whether a scalar stands for itself in JSON: a number, true or false.
[[nodiscard]] bool is_json_scalar(const config::value& v);

}  // namespace pl::host
