// SPDX-License-Identifier: Apache-2.0
// Evaluates a plan for one row, value by value. It defines the result of every expression; vector_plan.hpp computes the
// same for many rows at once where types allow it.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/plan.hpp"
#include "cel_common/rows.hpp"

#include <vector>

namespace pl::cel {

class interpreter {
 public:
  // rows: may be null if the nodes do not read columns.
  interpreter(evaluation& e, const bound_rows* rows, std::uint32_t locals) : e_(e), rows_(rows), locals_(locals) {}

  // Evaluate a node for a row. The result is valid until the evaluation restarts.
  [[nodiscard]] value run(const node& n, row_index row = 0) {
    row_ = row;
    return evaluate(n);
  }

 private:
  [[nodiscard]] value evaluate(const node& n);
  [[nodiscard]] value make_list(const node& n);
  [[nodiscard]] value make_entries(const node& n);
  [[nodiscard]] value call(const node& n);
  [[nodiscard]] value binary(const node& n);
  [[nodiscard]] value chain(const node& n);
  [[nodiscard]] value operation(const node& n, binary_op which, const value& a, const node* left, const node& right);
  [[nodiscard]] value logical(const node& n, bool decisive);
  [[nodiscard]] value logical_not(const node& n);
  [[nodiscard]] value conditional(const node& n);
  [[nodiscard]] value match_pattern(const node& n);
  [[nodiscard]] value macro(const node& n);
  [[nodiscard]] value quantifier(const node& n, std::span<const value> range, bool decisive);
  [[nodiscard]] value exists_one(const node& n, std::span<const value> range);
  [[nodiscard]] value collect(const node& n, std::span<const value> range);
  [[nodiscard]] value not_bool(const node& n, const value& v);

  evaluation& e_;
  const bound_rows* rows_;
  row_index row_ = 0;
  std::vector<value> locals_;
};

}  // namespace pl::cel
