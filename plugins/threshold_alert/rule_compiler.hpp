// SPDX-License-Identifier: Apache-2.0
// From options to rules: finds every contradiction, each with the path of its option and the fix.
#pragma once

#include "options.hpp"
#include "rule.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace threshold_alert {

using report_error = std::function<void(std::string_view option, std::string_view message)>;

// The rules that are sound; `report` was called for each mistake.
[[nodiscard]] rule_set compile(const options& given, const report_error& report);

// Stable over versions and machines: stored state refers to rules by it.
[[nodiscard]] std::uint64_t fingerprint(std::string_view name);

}  // namespace threshold_alert
