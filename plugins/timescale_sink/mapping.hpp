// SPDX-License-Identifier: Apache-2.0
// Maps input fields to columns and checks the mapping against the table.
#pragma once

#include "catalog.hpp"
#include "encoder.hpp"
#include "options.hpp"

#include <string>
#include <vector>

namespace timescale {

// A configuration error, and the option that must be changed to correct it.
struct finding {
  std::string option, message;
};
using findings = std::vector<finding>;

struct copy_plan {
  std::vector<copied_column> columns;
  std::string sql;    // COPY ... FROM STDIN
  std::string table;  // unqualified name, as in errors of COPY
  // With a 'key' the rows go to a temporary (staging) table first, and from there into the table.
  std::string staging;  // creates the staging table; ends in a semicolon. Empty: COPY writes directly to the table
  std::string landing;  // copies the rows from the staging table into the table
};

// Drops the staging table before it is created again in the same transaction. COMMIT drops it otherwise.
inline constexpr std::string_view drop_staging = "DROP TABLE pg_temp.pipeline_host_rows;";

// Return errors of the table that do not depend on the input, for example that it is a view.
[[nodiscard]] findings table_findings(const table_info& table);

// Return errors for fields in 'columns' that the input does not have.
[[nodiscard]] findings field_findings(const options& o, const pl_schema& in);

// Return errors in 'conflict' and 'key' that can be found without a database.
[[nodiscard]] findings key_findings(const options& o);

// Make the plan for one input schema, or return the errors that prevent it. Without a schema, check only what does not
// depend on it.
[[nodiscard]] findings make_plan(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan);

}  // namespace timescale
