// SPDX-License-Identifier: Apache-2.0
// filter passes the rows that meet a condition on one port, and the others on another.
#pragma once

#include <pipeline/component.hpp>

#include <cel_common/expression_option.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace filter {

struct options {
  std::string where;

  static pl::option_table<options> table();
};

class filter final : public pl::transform, public pl::columns_aware, public pl::column_user {
 public:
  using options = ::filter::options;
  enum port : std::uint32_t { matching, rest };

  static pl::description describe();
  filter(options o, pl::context ctx);

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override { return in; }
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;

 private:
  pl::context ctx_;
  pl::cel::expression_option where_;
  std::vector<pl::row_index> matched_, unmatched_, failed_;  // of the current call; kept to reuse their memory
};

}  // namespace filter
