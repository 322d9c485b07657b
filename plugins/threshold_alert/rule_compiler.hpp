// SPDX-License-Identifier: Apache-2.0
// Compiles options to rules. Reports every contradiction with the path of its option and the remedy.
#pragma once

#include "options.hpp"
#include "report_error.hpp"
#include "rule.hpp"

namespace threshold_alert {

// Compile the rules. Call `report` for each error; the result is usable only if `report` was not called.
[[nodiscard]] rule_set compile(const options& given, const report_error& report);

}  // namespace threshold_alert
