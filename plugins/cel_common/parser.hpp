// SPDX-License-Identifier: Apache-2.0
// Parses expressions by the grammar of the Common Expression Language (doc/langdef.md of github.com/google/cel-spec).
#pragma once

#include "cel_common/lexer.hpp"
#include "cel_common/syntax.hpp"

#include <string_view>
#include <variant>

namespace pl::cel {

// Parse a whole text. Calls of the macros become nodes of their own; names are not resolved yet.
[[nodiscard]] std::variant<expr_ptr, problem> parse(std::string_view text);

}  // namespace pl::cel
