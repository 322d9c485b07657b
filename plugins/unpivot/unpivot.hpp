// SPDX-License-Identifier: Apache-2.0
// unpivot makes several rows of one: one for each of some columns, or for each element of a list.
#pragma once

#include "layout.hpp"
#include "options.hpp"

#include <pipeline/component.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace unpivot {

class unpivot final : public pl::transform, public pl::columns_aware, public pl::column_user {
 public:
  using options = ::unpivot::options;

  static pl::description describe();
  unpivot(options o, pl::context ctx);

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;

 private:
  pl::result<void> bind(const pl_schema& in);
  // Collect the output's rows, in the order of the input.
  void turn_columns(pl::batch_view in);
  void turn_elements(pl::batch_view in);
  void add(pl::row_index from, std::uint32_t label, const pl::cell& value);
  [[nodiscard]] pl::batch_builder build(pl::batch_view in) const;
  void add_positions(pl::batch_view in, pl::batch_builder& made) const;
  void fill_labels(pl::batch_builder& made, std::span<pl::cell> to) const;

  options options_;
  pl::context ctx_;
  pl::counter empty_;

  const pl_schema* bound_ = nullptr;  // schema of the batches that layout_ is for
  const pl_schema* out_ = nullptr;
  layout layout_;

  // The rows of the current call; kept to reuse their memory.
  std::vector<pl::row_index> from_;    // row of the input
  std::vector<std::uint32_t> labels_;  // index of the column that became the row, or of the element
  std::vector<pl::cell> values_, elements_;
};

}  // namespace unpivot
