// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

namespace threshold_alert {

// Reports an error in the configuration with the path of its option.
using report_error = std::function<void(std::string_view option, std::string_view message)>;

}  // namespace threshold_alert
