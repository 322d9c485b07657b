// SPDX-License-Identifier: Apache-2.0
// Names of tables and columns: parsing, quoting for SQL, and suggestions for misspelt names.
#pragma once

#include <pipeline/result.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

// Return the name as a quoted SQL identifier: order becomes "order".
[[nodiscard]] std::string quoted_identifier(std::string_view name);

// Return a string constant that is valid for any setting of standard_conforming_strings.
[[nodiscard]] std::string quoted_literal(std::string_view text);

// The name of a table. Names are case-sensitive: they are not folded to lower case like unquoted SQL identifiers.
struct table_name {
  std::string schema;  // empty: resolved through the server's search_path
  std::string table;

  [[nodiscard]] std::string sql() const;    // quoted
  [[nodiscard]] std::string shown() const;  // for messages
};

// Parse table or schema.table. A part that contains a dot must be in double quotes: "we.ird"."ta""ble".
[[nodiscard]] pl::result<table_name> parse_table_name(std::string_view written);

// Return "; did you mean 'x'?", or `otherwise` if no known name is similar.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string> known,
                                       std::string_view otherwise = {});

// Return the names as "a", "b", "c".
[[nodiscard]] std::string quoted_list(std::span<const std::string> names);

// Return the statement CREATE UNIQUE INDEX ON table (columns).
[[nodiscard]] std::string unique_index_sql(const table_name& table, std::span<const std::string> columns);

// Return the names as 'a', 'b', 'c'.
[[nodiscard]] std::string listed(std::span<const std::string> names);

}  // namespace timescale
