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
};

// What is wrong with the table whatever comes in: it is a view, say.
[[nodiscard]] findings table_findings(const table_info& table);

// Fields that 'columns' names and that don't come in.
[[nodiscard]] findings field_findings(const options& o, const pl_schema& in);

// The plan for one incoming schema, or what is in its way. Without a schema: only what is known without it.
[[nodiscard]] findings make_plan(const options& o, const table_info& table, const pl_schema* in, copy_plan& plan);

// Columns with their SQL types, in order.
using table_design = std::vector<std::pair<std::string, std::string>>;

// Whether it is known which columns a new table would have.
[[nodiscard]] bool can_design(const options& o, const pl_schema* in);
[[nodiscard]] findings design_table(const options& o, const pl_schema* in, table_design& design);

}  // namespace timescale
