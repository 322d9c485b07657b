// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace unpivot {

pl::option_table<options> options::table() {
  return {pl::option(
              &options::columns, "columns",
              "Columns that become rows: a row for each of them that is not null, with its name and its value. Either "
              "this or `explode`.")
              .example("[temperature, humidity]"),
          pl::option(
              &options::explode, "explode",
              "Column of kind json with a list: a row for each element, as JSON. A value that is not a list counts as "
              "a list of one. Either this or `columns`.")
              .example("samples"),
          pl::option(
              &options::keep, "keep",
              "Columns of the input that each row repeats, in this order. Default: all except those of `columns` and "
              "`explode`.")
              .example("[time, device_id]"),
          pl::option(&options::name, "name", "With `columns`: output column with the name of the column."),
          pl::option(
              &options::value, "value",
              "Output column with the value. Default: value with `columns`, and the name of the exploded column with "
              "`explode`.")
              .example("value"),
          pl::option(&options::index, "index",
                     "With `explode`: output column with the element's place in the list, from 0.")
              .example("place"),
          pl::option(&options::max_elements, "max_elements",
                     "With `explode`: records with a longer list go to the dead letters.")
              .range(1, 1e6)};
}

}  // namespace unpivot
