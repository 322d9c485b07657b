// SPDX-License-Identifier: Apache-2.0
// Making the table, when the configuration asks for it and nobody has made it yet.
#pragma once

#include "mapping.hpp"

#include <pqxx/pqxx>

#include <span>
#include <string>
#include <vector>

namespace timescale {

// Many hosts start at once: whoever gets the lock first creates the table, the others wait and find it. Held until the
// transaction ends.
void lock_creation(pqxx::transaction_base& tx, const table_name& name);

// Creates table, hypertable, indexes (a unique one over `key`, if there is one) and policies. Answers what could not be had in this database, for a warning.
[[nodiscard]] std::vector<std::string> create_table(pqxx::transaction_base& tx, const table_name& name,
                                                    const table_design& design, const create_options& create,
                                                    std::span<const std::string> key, const server_info& server);

// The SQL that create_table runs, in order.
[[nodiscard]] std::vector<std::string> creation_sql(const table_name& name, const table_design& design,
                                                    const create_options& create, std::span<const std::string> key,
                                                    const server_info& server);

// Mistakes in 'create' that show without a database.
[[nodiscard]] findings creation_findings(const create_options& create);

}  // namespace timescale
