// SPDX-License-Identifier: Apache-2.0
// The operators on values, except for the logical ones. Operands may be of any kind; if no overload takes them, or an
// operand is an error, the result is an error. An int operand of + - * / beside a double becomes a double.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

namespace pl::cel {

using binary_operator = value (*)(evaluation&, const value&, const value&);

[[nodiscard]] value add(evaluation& e, const value& a, const value& b);
[[nodiscard]] value subtract(evaluation& e, const value& a, const value& b);
[[nodiscard]] value multiply(evaluation& e, const value& a, const value& b);
[[nodiscard]] value divide(evaluation& e, const value& a, const value& b);
[[nodiscard]] value modulo(evaluation& e, const value& a, const value& b);
[[nodiscard]] value negate(evaluation& e, const value& a);

[[nodiscard]] value equals(evaluation& e, const value& a, const value& b);
[[nodiscard]] value not_equals(evaluation& e, const value& a, const value& b);
[[nodiscard]] value less(evaluation& e, const value& a, const value& b);
[[nodiscard]] value less_equal(evaluation& e, const value& a, const value& b);
[[nodiscard]] value greater(evaluation& e, const value& a, const value& b);
[[nodiscard]] value greater_equal(evaluation& e, const value& a, const value& b);

[[nodiscard]] value contained_in(evaluation& e, const value& a, const value& b);     // a in b
[[nodiscard]] value index(evaluation& e, const value& a, const value& b);            // a[b]
[[nodiscard]] value member(evaluation& e, const value& a, std::string_view name);    // a.name
[[nodiscard]] value presence(evaluation& e, const value& a, std::string_view name);  // has(a.name)

}  // namespace pl::cel
