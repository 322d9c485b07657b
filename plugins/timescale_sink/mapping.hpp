// SPDX-License-Identifier: Apache-2.0
// Which incoming field goes into which column, checked against the table; and the table that would fit, if it is to be
// made.
#pragma once

#include "catalog.hpp"
#include "encoder.hpp"
#include "options.hpp"

#include <string>
#include <utility>
#include <vector>

namespace timescale {

// Something that doesn't fit, and the option whose change would mend it.
struct finding {
  std::string option, message;
};
using findings = std::vector<finding>;

struct copy_plan {
  std::vector<copied_column> columns;
  std::string sql;    // COPY ... FROM STDIN
  std::string table;  // its bare name, as errors of COPY have it
  // With a 'key' the rows go to a temporary table first, and from there into the table.
  std::string staging;  // makes it; ends in a semicolon. Empty: COPY writes to the table itself
  std::string landing;  // moves the rows on
};

// Between one use of the temporary table and the next in the same transaction; otherwise it goes with the transaction.
inline constexpr std::string_view drop_staging = "DROP TABLE pg_temp.pipeline_host_rows;";

// What is wrong with the table whatever comes in: it is a view, say.
[[nodiscard]] findings table_findings(const table_info& table);

// Fields that 'columns' names and that don't come in.
[[nodiscard]] findings field_findings(const options& o, const pl_schema& in);

// Mistakes in 'conflict' and 'key' that show without a database.
[[nodiscard]] findings key_findings(const options& o);

// The plan for one incoming schema, or what is in its way. Without a schema: only what is known without it.
[[nodiscard]] findings make_plan(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan);

// Columns with their SQL types, in order.
using table_design = std::vector<std::pair<std::string, std::string>>;

// Whether it is known which columns a new table would have.
[[nodiscard]] bool can_design(const options& o, const pl_schema* in);
[[nodiscard]] findings design_table(const options& o, const pl_schema* in, table_design& design);

}  // namespace timescale
