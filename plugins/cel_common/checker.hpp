// SPDX-License-Identifier: Apache-2.0
// Resolves the names of a syntax tree, checks its types, and makes the plan.
#pragma once

#include "cel_common/environment.hpp"
#include "cel_common/plan.hpp"
#include "cel_common/syntax.hpp"

#include <optional>

namespace pl::cel {

// Add root, columns, locals and hints to `to`. Return the first mistake. unchecked: report only mistakes that make
// evaluation impossible; unknown names and operands of wrong types fail at run time instead.
[[nodiscard]] std::optional<problem> check(const expr& tree, const column_names& columns, bool unchecked, plan& to);

}  // namespace pl::cel
