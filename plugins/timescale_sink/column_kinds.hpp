// SPDX-License-Identifier: Apache-2.0
// Which kinds of cells fit which types of columns. The encoder decides for each value; these functions state, before any
// row arrives, what it decides for all values of a kind.
#pragma once

#include "mapping.hpp"

#include <pipeline/component.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

enum class fit : std::uint8_t {
  never,     // the encoder rejects every value of this kind
  by_value,  // it depends on the value, for example whether a text is a UUID
  always     // or the kind is unknown: nothing can be said
};
[[nodiscard]] fit fit_of(std::uint32_t kind, wire type) noexcept;

// Return the type of a column that is created for this kind. Unknown or mixed: text, which accepts every kind.
[[nodiscard]] std::string_view sql_type_of(std::uint32_t kind) noexcept;

struct kind_report {
  findings errors;                    // every row with a value in the column will be rejected
  std::vector<std::string> warnings;  // some rows may be
};
// Compare the kinds of the input with the types of the columns that the plan writes.
[[nodiscard]] kind_report check_kinds(const options& o, const table_info& table, const copy_plan& plan,
                                      const pl::column_set& in);

// Return all columns of several inputs, and the kinds in which they agree. A column that is int in one input and float in
// another is float. Without a schema or without kinds if an input has none.
[[nodiscard]] pl::column_set merged(pl::context context, const std::vector<pl::column_set>& inputs);

// Return the columns of a schema with the kinds of the values in these batches.
[[nodiscard]] pl::column_set observed(const pl_schema& schema, const pl::batch_list& batches);

}  // namespace timescale
