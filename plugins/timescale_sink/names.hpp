// SPDX-License-Identifier: Apache-2.0
// Names of tables and columns: as people write them, as SQL needs them, and the nearest one to a misspelt one.
#pragma once

#include <pipeline/result.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

// "order" -> "\"order\"": any name becomes an identifier that SQL takes as it is written.
[[nodiscard]] std::string quoted_identifier(std::string_view name);

// A string constant, whatever standard_conforming_strings is.
[[nodiscard]] std::string quoted_literal(std::string_view text);

// Names are taken literally, upper case included; nothing is folded to lower case as unquoted SQL would do.
struct table_name {
  std::string schema;  // empty: found through the server's search_path
  std::string table;

  [[nodiscard]] std::string sql() const;    // quoted
  [[nodiscard]] std::string shown() const;  // for people
};

// table, schema.table, and with double quotes around a part that has a dot in it: "we.ird"."ta""ble".
[[nodiscard]] pl::result<table_name> parse_table_name(std::string_view written);

// The known name that `name` was probably meant to be; empty where none is near.
[[nodiscard]] std::string nearest_name(std::string_view name, std::span<const std::string> known);

// "; did you mean 'x'?", or `otherwise` where no name is near.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string> known,
                                       std::string_view otherwise = {});

// "a", "b", "c"
[[nodiscard]] std::string quoted_list(std::span<const std::string> names);

// CREATE UNIQUE INDEX ON table (columns)
[[nodiscard]] std::string unique_index_sql(const table_name& table, std::span<const std::string> columns);

// 'a', 'b', 'c'
[[nodiscard]] std::string listed(std::span<const std::string> names);

}  // namespace timescale
