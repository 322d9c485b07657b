// SPDX-License-Identifier: Apache-2.0
// The macros of the language: has(), all(), exists(), exists_one(), map() and filter().
#pragma once

#include "cel_common/syntax.hpp"

#include <optional>

namespace pl::cel {

// If the call is that of a macro, turn it into the macro's node. Return what is wrong with its arguments.
[[nodiscard]] std::optional<problem> expand_macro(expr& call);

}  // namespace pl::cel
