// SPDX-License-Identifier: Apache-2.0
// The instructions of vector plans. Each function computes all lanes of one register.
#pragma once

#include "cel_common/plan.hpp"
#include "cel_common/vector_plan.hpp"

namespace pl::cel::kernels {

using kernel = void (*)(vector_machine&, const instruction&);

// Registers from cells: `slot`.
void load_real(vector_machine& m, const instruction& i);
void load_integer(vector_machine& m, const instruction& i);
void load_boolean(vector_machine& m, const instruction& i);
void load_presence(vector_machine& m, const instruction& i);
// Compare the cells of `slot` with the constant of i.scalar: other kinds of cells are left to the interpreter.
[[nodiscard]] kernel compare_cells(binary_op o, value_kind with) noexcept;
// Compute i.scalar with the interpreter.
[[nodiscard]] kernel interpreted(lane_type type) noexcept;

// to = a o b. For integers and doubles: + - * / and % (integers). Comparisons of two doubles or two integers, and of an
// integer `a` with a double `b`. Null if there is no such kernel.
[[nodiscard]] kernel arithmetic(binary_op o, lane_type type) noexcept;
[[nodiscard]] kernel comparison(binary_op o, lane_type a, lane_type b) noexcept;
[[nodiscard]] kernel is_null(bool wanted) noexcept;  // to = (a == null) or (a != null)

[[nodiscard]] kernel negate(lane_type type) noexcept;
void convert_to_real(vector_machine& m, const instruction& i);
void convert_to_integer(vector_machine& m, const instruction& i);
// A function of one double, by its name in the language, with a double or a bool as its result; null if there is none.
[[nodiscard]] kernel real_function(std::string_view name) noexcept;
void greatest(vector_machine& m, const instruction& i);  // of two doubles
void least(vector_machine& m, const instruction& i);

void logical_and(vector_machine& m, const instruction& i);
void logical_or(vector_machine& m, const instruction& i);
void logical_not(vector_machine& m, const instruction& i);
[[nodiscard]] kernel conditional(lane_type type) noexcept;  // to = a ? b : c

}  // namespace pl::cel::kernels
