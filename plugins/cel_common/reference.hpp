// SPDX-License-Identifier: Apache-2.0
// The reference of the language's operators, macros and functions, made from the table of functions.
#pragma once

#include <cstdint>
#include <string>

namespace pl::cel {

enum class reference_format : std::uint8_t { text, markdown };

[[nodiscard]] std::string language_reference(reference_format format);

}  // namespace pl::cel
