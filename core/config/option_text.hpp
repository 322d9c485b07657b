// SPDX-License-Identifier: Apache-2.0
// Texts about an option, for messages and references. Pure functions, for any thread. Internal to core/config.
#pragma once

#include <pipeline/abi.h>

#include <cstdint>
#include <string>

namespace pl::config {

/// Return the kind as shown in messages: "a whole number", "one of json, text".
[[nodiscard]] std::string kind_name(const pl_option& option);
/// Return the kind as shown in references: "whole number", "list of text", "json | text".
[[nodiscard]] std::string type_text(const pl_option& option);
/// Return a bound of the range in the option's unit: "100", "1s", "64KiB".
[[nodiscard]] std::string limit_text(std::uint32_t kind, double limit);
/// Return "1 to 100", "at least 1s", or an empty text.
[[nodiscard]] std::string range_text(const pl_option& option);
/// Return "required", the default, "(secret)", or an empty text.
[[nodiscard]] std::string default_text(const pl_option& option);

}  // namespace pl::config
