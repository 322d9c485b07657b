// SPDX-License-Identifier: Apache-2.0
// The rules of abi.h for batches, which the host checks where a batch comes from a plugin: a batch that violates them
// would crash the host or another plugin, or store wrong values.
#pragma once

#include "engine/record_batch.hpp"

#include <string>
#include <string_view>

namespace pl::engine {

enum class batch_from {
  source,    // the result of `poll`
  transform  // emitted
};

// Return the rule that a batch violates; empty: none. The contents of text (valid UTF-8, valid JSON) are not checked.
[[nodiscard]] std::string violated_rule(record_batch& b, batch_from from);

// Return the rule that a cell violates; empty: none.
[[nodiscard]] std::string rule_of_cell(const pl_cell& c, std::string_view column, row_index row);

// Return the rule that a call of `later` ("on_demand/1") violates; empty: none.
[[nodiscard]] std::string rule_of_later(const record_batch& b, column_index column, pl_make_cell make);

}  // namespace pl::engine
