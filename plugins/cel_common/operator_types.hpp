// SPDX-License-Identifier: Apache-2.0
// The types of operators.
#pragma once

#include "cel_common/plan.hpp"

#include <optional>
#include <string_view>

namespace pl::cel {

// Return the operator of a call in the syntax tree, such as "+"; std::nullopt for a function.
[[nodiscard]] std::optional<binary_op> operator_of(std::string_view name) noexcept;

// Return the sign of an arithmetic operator.
[[nodiscard]] inline char sign_of(binary_op o) noexcept { return "+-*/%"[static_cast<std::size_t>(o)]; }

// Return the type of an operator's result; std::nullopt if it takes no operands of these types.
[[nodiscard]] std::optional<type> result_type(binary_op o, const type& a, const type& b);

}  // namespace pl::cel
