// SPDX-License-Identifier: Apache-2.0
// Reads the catalog: the table, its columns and privileges. These queries are rare, so they use libpqxx and a separate
// connection that is closed afterwards.
#pragma once

#include "names.hpp"
#include "sql_error.hpp"
#include "wire.hpp"

#include <pipeline/result.hpp>

#include <pqxx/pqxx>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace timescale {

struct table_column {
  std::string name;
  std::string type;                  // SQL name
  std::optional<wire> wire_type;     // empty: this sink cannot write the type
  std::uint32_t max_characters = 0;  // 0: no limit
  bool not_null = false;
  bool has_default = false;  // or is an identity column
  bool generated = false;
  bool always_identity = false;  // GENERATED ALWAYS AS IDENTITY
  bool may_insert = false;
  bool may_select = false, may_update = false;
};

struct table_info {
  table_name name;  // always with the schema
  std::vector<table_column> columns;
  char kind = 'r';  // pg_class.relkind
  bool may_insert_all = false;
  bool row_security = false;
  bool hypertable = false;
  std::vector<std::string> dimensions;                // of a hypertable: columns that every unique index must include
  std::vector<std::vector<std::string>> unique_keys;  // columns of the indexes that ON CONFLICT can use
  bool may_stage = false;                             // may create temporary tables in this database
  bool has_triggers = false;                          // of users, on the table or one of its partitions
  bool unlogged = false;                              // the table or one of its partitions: a crash empties it
  // A cheap SQL expression whose value changes when a column is altered, a trigger for INSERT is created, or the table is
  // replaced, and its current value.
  std::string fingerprint_sql, fingerprint;
};

struct server_info {
  std::string version;                // 15.4
  std::string timescale;              // version of the extension; empty: not installed
  bool timescale_offered = false;     // available through CREATE EXTENSION
  bool community = false;             // TimescaleDB with compression and retention
  bool read_only = false;             // a standby, or read-only by its configuration
  bool commits_later = false;         // synchronous_commit is off: a crash of the server loses confirmed writes
  bool limits_decompression = false;  // has timescaledb.max_tuples_decompressed_per_dml_transaction
};

// Timeouts of an open connection.
struct limits {
  std::chrono::nanoseconds statement, lock, stall;
  // Return statements for the begin of a transaction: the timeouts, and the session's settings as they were when it
  // began, because another client of a connection pooler may have changed them. Ends in a semicolon.
  [[nodiscard]] std::string sql() const;
};

[[nodiscard]] server_info inspect_server(pqxx::transaction_base& tx);
enum class schema_state { usable, missing, forbidden };
[[nodiscard]] schema_state inspect_schema(pqxx::transaction_base& tx, const std::string& schema);
// Return the table of this name in the search_path, with its schema, or nothing. Temporary tables do not count, because
// they may belong to another client of a connection pooler.
[[nodiscard]] std::optional<table_name> find_in_path(pqxx::transaction_base& tx, const std::string& table);
// Return the name with a schema: that of the table in the search_path, or else the schema in which CREATE TABLE would
// create it.
[[nodiscard]] table_name qualified(pqxx::transaction_base& tx, const table_name& name);
// Return the table, or nothing if it does not exist. name: with its schema.
[[nodiscard]] std::optional<table_info> inspect_table(pqxx::transaction_base& tx, const table_name& name,
                                                      const server_info& server);
// Return visible tables, for suggestions. Names include the schema if `name` has one.
[[nodiscard]] std::vector<std::string> visible_tables(pqxx::transaction_base& tx, const table_name& name);

// Convert a libpqxx exception. The message is the first line of its text, without "ERROR:".
[[nodiscard]] sql_error error_of(const pqxx::sql_error& e);

// Shuts a connection down if the server does not respond in time, because libpqxx waits for a response without a timeout.
class stall_guard {
 public:
  stall_guard(int socket, std::chrono::nanoseconds patience);
  stall_guard(const stall_guard&) = delete;
  stall_guard& operator=(const stall_guard&) = delete;

  void wait_anew();  // for the next response, for the whole time
  void pause();      // nothing is awaited until `wait_anew`

 private:
  using clock = std::chrono::steady_clock;
  void set(clock::time_point until);

  const std::chrono::nanoseconds patience_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  clock::time_point until_;
  bool changed_ = false;
  std::jthread thread_;  // declared last: it must end before the other members are destroyed
};

// Connect, begin a transaction, run `body` and commit. An exception of libpqxx becomes a `retry` failure with the
// server's message. The connection is closed if the server does not respond for limits.stall.
[[nodiscard]] pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                              const std::function<pl::result<void>(pqxx::transaction_base&)>& body);
// Run `body` on the connection `kept`. It is opened if it is null, and reset if it breaks.
[[nodiscard]] pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                              std::unique_ptr<pqxx::connection>& kept,
                                              const std::function<pl::result<void>(pqxx::transaction_base&)>& body);
// The same for a body with several responses, each of which may take limits.stall, and with work between them.
[[nodiscard]] pl::result<void> in_transaction(
    const std::string& secret_conninfo, const limits& allowed, std::unique_ptr<pqxx::connection>& kept,
    const std::function<pl::result<void>(pqxx::transaction_base&, stall_guard&)>& body);

}  // namespace timescale
