// SPDX-License-Identifier: Apache-2.0
// map computes columns, and renames, keeps and drops columns.
#pragma once

#include "layout.hpp"
#include "options.hpp"

#include <pipeline/component.hpp>

#include <cel_common/expression_option.hpp>

#include <optional>
#include <string>
#include <vector>

namespace map {

class map final : public pl::transform, public pl::columns_aware, public pl::column_user {
 public:
  using options = ::map::options;

  static pl::description describe();
  map(options o, pl::context ctx);

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;

 private:
  pl::result<void> bind(const pl_schema& in);
  // Compute the cells of one entry of `set` for the rows of `work`.
  void compute(std::size_t step, pl_batch& work, pl::batch_view in, pl::batch_builder& out);
  void reject_failed(std::size_t step, pl_batch& work, pl::batch_view in);

  options options_;
  pl::context ctx_;
  std::vector<pl::cel::expression_option> set_;

  // For the schema of the batches. The expression of a step sees the columns of the input and of the steps before it.
  const pl_schema* bound_ = nullptr;
  layout layout_;
  std::vector<const pl_schema*> visible_;  // by step
  const pl_schema* out_ = nullptr;

  // Of the current call; kept to reuse their memory.
  std::vector<const pl::cell*> work_;
  std::vector<pl::row_index> failed_, left_, remaining_;
};

}  // namespace map
