// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace map {

pl::option_table<options> options::table() {
  return {
      pl::option(
          &options::set, "set",
          "Columns to compute, each with its expression, in the language of docs/expressions.md. An expression sees "
          "the columns of the input and those that the entries above it have set. A column that exists already is "
          "replaced.")
          .example("{fahrenheit: temperature * 9 / 5 + 32}"),
      pl::option(&options::rename, "rename",
                 "Columns to rename: the present name, then the new one. Runs after `set`, for all of them at once.")
          .example("{temperature: celsius}"),
      pl::option(&options::keep, "keep",
                 "The only columns of the output, in this order; empty: all columns. Runs after `rename`.")
          .example("[time, device_id, fahrenheit]"),
      pl::option(&options::drop, "drop", "Columns that the output does not have. Runs after `keep`.")
          .example("[extra]"),
      pl::option(
          &options::errors, "errors",
          "What to do with a row for which an expression fails, for example because an operand is null. null: the "
          "column is null in this row; reject: the row goes to the dead letters, with the reason.")};
}

}  // namespace map
