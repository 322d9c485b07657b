// SPDX-License-Identifier: Apache-2.0
// Maps input columns to columns of a table, and compares them with an existing table. Independent of the database.
#pragma once

#include "database.hpp"

#include <pipeline/component.hpp>

#include <map>
#include <string>
#include <vector>

namespace sqlite {

enum class time_storage { text, nanoseconds };

// A column of the table, and the input column with its values.
struct mapped_column {
  std::string name;
  pl::column_index from;
};

// named: column of the table -> column of the input; empty: all columns, with the same names. All are in the input.
[[nodiscard]] std::vector<mapped_column> map_columns(const std::map<std::string, std::string>& named,
                                                     const pl_schema& in);

// Return the error if a mapped column does not exist, or if a column that needs a value gets none. where: names table and
// file.
[[nodiscard]] pl::result<void> check_columns(const std::vector<mapped_column>& mapped,
                                             const std::vector<column_info>& there, const std::string& where);

// Return one failure for each column that rejects every value of its kind.
[[nodiscard]] std::vector<pl::failure> check_kinds(const std::vector<mapped_column>& mapped,
                                                   const std::vector<column_info>& there, const pl::column_set& in,
                                                   time_storage time_as, const std::string& where);

// Return the table's column; null if there is none. Names are compared without regard to case, as SQLite does.
[[nodiscard]] const column_info* find_column(const std::vector<column_info>& there, const std::string& name);
[[nodiscard]] pl::failure no_table_column(const std::string& name, const std::vector<column_info>& there,
                                          const std::string& where);

}  // namespace sqlite
