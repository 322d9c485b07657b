// SPDX-License-Identifier: Apache-2.0
// The columns of one batch, as an expression reads them.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/plan.hpp"

#include <pipeline/batch.hpp>

#include <span>
#include <vector>

namespace pl::cel {

// A column of a batch: null if the batch does not have it.
struct bound_column {
  const cell* cells = nullptr;
  std::uint32_t kind = PL_NULL;  // as declared
};

// The columns of a plan in one batch. Names are looked up once for each schema.
class bound_rows {
 public:
  explicit bound_rows(const plan& p) : plan_(&p), columns_(p.columns.size()) {}
  void bind(batch_view batch);

  [[nodiscard]] const bound_column& column(std::uint32_t slot) const noexcept { return columns_[slot]; }
  [[nodiscard]] batch_view batch() const noexcept { return batch_view(batch_); }
  // Return the value of a cell. Numbers of a double column are doubles. A cell of another kind than declared is an error.
  [[nodiscard]] value read(evaluation& e, std::uint32_t slot, row_index row) const;
  // Return the columns of a row that are not null as a map.
  [[nodiscard]] value whole_row(evaluation& e, row_index row) const;

 private:
  const plan* plan_;
  const pl_schema* schema_ = nullptr;
  pl_batch* batch_ = nullptr;
  std::vector<std::optional<column_index>> indexes_;
  std::vector<bound_column> columns_;
};

// Return the value of a cell, by its own kind.
[[nodiscard]] value cell_value(evaluation& e, const cell& c);

}  // namespace pl::cel
