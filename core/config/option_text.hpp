// SPDX-License-Identifier: Apache-2.0
// How an option is described, wherever it is. Internal to core/config.
#pragma once

#include <pipeline/abi.h>

#include <span>
#include <string>

namespace pl::config {

[[nodiscard]] std::span<const pl_option> options_of(const pl_component& component);
[[nodiscard]] std::span<const pl_option> fields_of(const pl_option& option);

/// "whole number", "list of text", "json | text".
[[nodiscard]] std::string type_text(const pl_option& option);
/// "1 to 100", "at least 1s", or empty.
[[nodiscard]] std::string range_text(const pl_option& option);
/// "required", the default, "(secret)", or empty.
[[nodiscard]] std::string default_text(const pl_option& option);

}  // namespace pl::config
