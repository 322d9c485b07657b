// SPDX-License-Identifier: Apache-2.0
// What the database has: the table, its columns, what may be written to them. Rare work, so it is libpqxx's, on a
// connection of its own that is closed at once.
#pragma once

#include "names.hpp"
#include "sql_error.hpp"
#include "wire.hpp"

#include <pipeline/result.hpp>

#include <pqxx/pqxx>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace timescale {

struct table_column {
  std::string name;
  std::string type;                  // as SQL shows it
  std::optional<wire> wire_type;     // nothing: a type that this sink can't write
  std::uint32_t max_characters = 0;  // 0: no limit
  bool not_null = false;
  bool has_default = false;  // or is numbered by the database (identity)
  bool generated = false;
  bool may_insert = false;
  bool may_select = false, may_update = false;
};

struct table_info {
  table_name name;  // always with its schema
  std::vector<table_column> columns;
  char kind = 'r';  // pg_class.relkind
  bool may_insert_all = false;
  bool row_security = false;
  bool hypertable = false;
  std::vector<std::string> dimensions;                // of a hypertable: columns that a unique index must have in it
  std::vector<std::vector<std::string>> unique_keys;  // columns of the indexes that ON CONFLICT can use
  bool may_stage = false;                             // temporary tables in this database
  // A cheap SQL expression that has another value once the table was altered, dropped or created anew, and its value
  // now.
  std::string fingerprint_sql, fingerprint;
};

struct server_info {
  std::string version;             // 15.4
  std::string timescale;           // version of the extension; empty: plain PostgreSQL
  bool timescale_offered = false;  // could be had with CREATE EXTENSION
  bool community = false;          // TimescaleDB with compression and retention
  bool read_only = false;
};

// How long the server may take, once connected.
struct limits {
  std::chrono::nanoseconds statement, lock, stall;
  // SET LOCAL of the first two, where they are not 0; ends in a semicolon.
  [[nodiscard]] std::string sql() const;
};

[[nodiscard]] server_info inspect_server(pqxx::transaction_base& tx);
enum class schema_state { usable, missing, forbidden };
[[nodiscard]] schema_state inspect_schema(pqxx::transaction_base& tx, const std::string& schema);
// Nothing: there is no such table.
[[nodiscard]] std::optional<table_info> inspect_table(pqxx::transaction_base& tx, const table_name& name,
                                                      const server_info& server);
// Tables that can be seen, for finding the one that was meant: with their schema if `name` has one.
[[nodiscard]] std::vector<std::string> visible_tables(pqxx::transaction_base& tx, const table_name& name);

// libpqxx's exception as an error like any other: the first line of its text, without "ERROR:".
[[nodiscard]] sql_error error_of(const pqxx::sql_error& e);

// Connects, begins a transaction, runs `body` in it and commits. What libpqxx throws becomes a failure: `retry`, with
// the server's words in it. A server that falls silent is given up after limits.stall.
[[nodiscard]] pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                              const std::function<pl::result<void>(pqxx::transaction_base&)>& body);
// The same on a connection that is kept: made where there is none, and gone where it broke.
[[nodiscard]] pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                              std::unique_ptr<pqxx::connection>& kept,
                                              const std::function<pl::result<void>(pqxx::transaction_base&)>& body);

}  // namespace timescale
