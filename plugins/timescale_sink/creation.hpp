// SPDX-License-Identifier: Apache-2.0
// Creates the table if the configuration has `create` and the table does not exist.
#pragma once

#include "table_design.hpp"

#include <pqxx/pqxx>

#include <span>
#include <string>
#include <vector>

namespace timescale {

// Lock the creation of the table until the transaction ends. If several hosts start at the same time, the first one
// creates the table, and the others wait and find it.
void lock_creation(pqxx::transaction_base& tx, const table_name& name);

// Create the table, the hypertable, indexes (a unique one over `key`, unless it is empty) and policies. Return warnings
// about features that this database does not have.
[[nodiscard]] std::vector<std::string> create_table(pqxx::transaction_base& tx, const table_name& name,
                                                    const table_design& design, const create_options& create,
                                                    std::span<const std::string> key, const server_info& server);

// Return the SQL statements that create_table runs, in order.
[[nodiscard]] std::vector<std::string> creation_sql(const table_name& name, const table_design& design,
                                                    const create_options& create, std::span<const std::string> key,
                                                    const server_info& server);

// Return errors in 'create' that can be found without a database.
[[nodiscard]] findings creation_findings(const create_options& create);

}  // namespace timescale
