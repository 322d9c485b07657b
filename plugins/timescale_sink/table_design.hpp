// SPDX-License-Identifier: Apache-2.0
// Designs the table that `create` makes: its columns and their types.
#pragma once

#include "mapping.hpp"

#include <pipeline/component.hpp>

#include <string>
#include <utility>
#include <vector>

namespace timescale {

struct table_design {
  std::vector<std::pair<std::string, std::string>> columns;  // names and SQL types, in order
  std::vector<std::string> untyped;  // columns that are text because the kind of their values is unknown or mixed
};

// Return whether the columns of a new table and their kinds are known. If not, the first rows show them.
[[nodiscard]] bool can_design(const options& o, const pl::column_set& in);

// Design the table for the columns of the input. Return errors in 'create' and 'key' that prevent it.
[[nodiscard]] findings design_table(const options& o, const pl::column_set& in, table_design& design);

}  // namespace timescale
