// SPDX-License-Identifier: Apache-2.0
#include "catalog.hpp"

#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace timescale {
namespace {

// libpqxx waits for an answer for ever. This ends the wait by ending the connection.
class stall_guard {
 public:
  stall_guard(int socket, std::chrono::nanoseconds patience)
      : thread_([this, socket, patience](const std::stop_token& done) {
          std::unique_lock lock(mutex_);
          wake_.wait_for(lock, done, patience, [&] { return done.stop_requested(); });
          if (!done.stop_requested()) ::shutdown(socket, SHUT_RDWR);
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it must end before the others go
};

bool flag(const pqxx::row& row, const char* name) { return row[name].as<std::string>() == "t"; }

// Domains lead to the type below them, with the length that is closest to the domain itself.
constexpr const char* columns_sql = R"(
WITH RECURSIVE base(attnum, typid, typmod) AS (
  SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = %OID% AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END
  FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd')
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, r.proname AS receive,
       CASE WHEN r.proname IN ('varcharrecv', 'bpcharrecv') AND b.typmod > 4 THEN b.typmod - 4 ELSE 0 END AS length,
       a.attnotnull AS not_null, (a.atthasdef OR a.attidentity <> '') AS has_default, a.attgenerated <> '' AS generated,
       has_column_privilege(a.attrelid, a.attnum, 'INSERT') AS may_insert,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS may_select,
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS may_update
FROM pg_attribute a JOIN base b ON b.attnum = a.attnum JOIN pg_type t ON t.oid = b.typid AND t.typtype <> 'd'
     JOIN pg_proc r ON r.oid = t.typreceive
WHERE a.attrelid = %OID% ORDER BY a.attnum)";

// Whole, in force at once, over columns as they are: what ON CONFLICT (columns) looks for.
constexpr const char* unique_keys_sql = R"(
SELECT i.indexrelid AS index, a.attname AS column
FROM pg_index i CROSS JOIN generate_series(0, i.indnkeyatts - 1) AS k(n)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n]
WHERE i.indrelid = %OID% AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
      AND i.indexprs IS NULL ORDER BY 1, k.n)";

std::string with_oid(std::string sql, const std::string& oid) {
  for (auto at = sql.find("%OID%"); at != std::string::npos; at = sql.find("%OID%", at)) sql.replace(at, 5, oid);
  return sql;
}

std::vector<table_column> inspect_columns(pqxx::transaction_base& tx, const std::string& oid) {
  std::vector<table_column> columns;
  for (const auto& row : tx.exec(with_oid(columns_sql, oid))) {
    table_column c;
    c.name = row["name"].as<std::string>();
    c.type = row["type"].as<std::string>();
    c.wire_type = wire_of(row["receive"].as<std::string>());
    c.max_characters = row["length"].as<std::uint32_t>();
    c.not_null = flag(row, "not_null");
    c.has_default = flag(row, "has_default");
    c.generated = flag(row, "generated");
    c.may_insert = flag(row, "may_insert");
    c.may_select = flag(row, "may_select");
    c.may_update = flag(row, "may_update");
    columns.push_back(std::move(c));
  }
  return columns;
}

std::vector<std::vector<std::string>> inspect_unique_keys(pqxx::transaction_base& tx, const std::string& oid) {
  std::vector<std::vector<std::string>> keys;
  std::string index;
  for (const auto& row : tx.exec(with_oid(unique_keys_sql, oid))) {
    if (keys.empty() || row["index"].as<std::string>() != index) keys.emplace_back();
    index = row["index"].as<std::string>();
    keys.back().push_back(row["column"].as<std::string>());
  }
  return keys;
}

// An altered type means a new file; only tables without a file of their own (partitioned ones) need the list of
// columns. A column that takes no nulls any more leaves the file as it is.
std::string fingerprint_expression(const table_info& table) {
  const auto name = quoted_literal(table.name.sql()) + "::regclass";
  if (table.kind == 'r')
    return "(SELECT concat(pg_relation_filenode(" + name +
           "), ':', count(*)) FROM pg_attribute WHERE attrelid = " + name +
           " AND attnum > 0 AND attnotnull AND NOT attisdropped)";
  return "(SELECT coalesce(string_agg(concat_ws(':', attnum, attname, atttypid, attnotnull), ',' ORDER BY attnum), '') "
         "FROM pg_attribute WHERE attrelid = " +
         name + " AND attnum > 0 AND NOT attisdropped)";
}

// None: it is no hypertable.
std::vector<std::string> dimensions_of(pqxx::transaction_base& tx, const table_name& name) {
  std::vector<std::string> columns;
  for (const auto& row :
       tx.exec("SELECT column_name FROM timescaledb_information.dimensions WHERE hypertable_schema = " +
               quoted_literal(name.schema) + " AND hypertable_name = " + quoted_literal(name.table) +
               " ORDER BY dimension_number"))
    columns.push_back(row[0].as<std::string>());
  return columns;
}

std::string milliseconds(std::chrono::nanoseconds d) {
  return std::to_string(std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

// libpqxx loses the server's last words where the connection ended with them.
std::string meaning_of(std::string text) {
  if (text.find("Could not obtain client encoding") == std::string::npos) return text;
  return "the server, or a pooler before it, ended the connection instead of an answer: it was shut down, or the "
         "pooler "
         "had no connection to the database free in time";
}

pl::result<void> run(pqxx::connection& connection, const limits& allowed,
                     const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  const stall_guard guard(connection.sock(), allowed.stall);
  const pqxx::quiet_errorhandler quiet(connection);  // or a connection that an administrator ends speaks on our stderr
  pqxx::work tx(connection);
  if (const auto settings = allowed.sql(); !settings.empty()) tx.exec(settings);
  if (auto done = body(tx); !done) return done;
  tx.commit();
  return {};
}

}  // namespace

std::string limits::sql() const {
  std::string text;
  if (statement.count() != 0) text += "SET LOCAL statement_timeout = " + milliseconds(statement) + ';';
  if (lock.count() != 0) text += "SET LOCAL lock_timeout = " + milliseconds(lock) + ';';
  // A host that is frozen in the middle holds locks (on a chunk that it has just made, for one) that others wait for.
  text += "SET LOCAL idle_in_transaction_session_timeout = " + milliseconds(stall) + ';';
  return text;
}

server_info inspect_server(pqxx::transaction_base& tx) {
  server_info server;
  const auto found = tx.exec(
      "SELECT current_setting('server_version') AS version, "
      "coalesce((SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), '') AS timescale, "
      "EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb') AS offered, "
      "coalesce(current_setting('timescaledb.license', true), '') = 'timescale' AS community, "
      "current_setting('transaction_read_only') = 'on' AS read_only");
  const auto row = found[0];
  server.version = row["version"].as<std::string>();
  server.version = server.version.substr(0, server.version.find(' '));
  server.timescale = row["timescale"].as<std::string>();
  server.timescale_offered = flag(row, "offered");
  server.community = flag(row, "community");
  server.read_only = flag(row, "read_only");
  return server;
}

schema_state inspect_schema(pqxx::transaction_base& tx, const std::string& schema) {
  const auto found = tx.exec("SELECT has_schema_privilege(oid, 'USAGE') AS usable FROM pg_namespace WHERE nspname = " +
                             quoted_literal(schema));
  if (found.empty()) return schema_state::missing;
  return flag(found[0], "usable") ? schema_state::usable : schema_state::forbidden;
}

std::optional<table_info> inspect_table(pqxx::transaction_base& tx, const table_name& name, const server_info& server) {
  const auto found = tx.exec(
      "SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, "
      "has_table_privilege(c.oid, 'INSERT') AS may_insert, row_security_active(c.oid) AS row_security, "
      "has_database_privilege(current_database(), 'TEMPORARY') AS may_stage "
      "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(" +
      quoted_literal(name.sql()) + ")");
  if (found.empty()) return std::nullopt;
  const auto row = found[0];
  table_info table;
  table.name = {row["schema"].as<std::string>(), row["name"].as<std::string>()};
  table.kind = row["kind"].as<std::string>().at(0);
  table.may_insert_all = flag(row, "may_insert");
  table.row_security = flag(row, "row_security");
  table.columns = inspect_columns(tx, row["oid"].as<std::string>());
  table.may_stage = flag(row, "may_stage");
  table.unique_keys = inspect_unique_keys(tx, row["oid"].as<std::string>());
  if (!server.timescale.empty()) table.dimensions = dimensions_of(tx, table.name);
  table.hypertable = !table.dimensions.empty();
  table.fingerprint_sql = fingerprint_expression(table);
  const auto now = tx.exec("SELECT " + table.fingerprint_sql);
  table.fingerprint = now[0][0].as<std::string>();
  return table;
}

std::vector<std::string> visible_tables(pqxx::transaction_base& tx, const table_name& name) {
  std::string sql =
      "SELECT c.relname AS table, n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE "
      "'\\_timescaledb%' AND has_schema_privilege(n.oid, 'USAGE')";
  if (name.schema.empty()) sql += " AND pg_table_is_visible(c.oid)";
  std::vector<std::string> names;
  for (const auto& row : tx.exec(sql + " ORDER BY 1 LIMIT 1000")) {
    const table_name t{name.schema.empty() ? std::string{} : row["schema"].as<std::string>(),
                       row["table"].as<std::string>()};
    names.push_back(t.shown());
  }
  return names;
}

sql_error error_of(const pqxx::sql_error& e) {
  std::string text = e.what();
  text = text.substr(0, text.find('\n'));  // behind it: the place in a statement that nobody wrote by hand
  if (const auto colon = text.find(":  "); colon != std::string::npos) text.erase(0, colon + 3);
  return {e.sqlstate(), std::move(text), {}, {}, 0};
}

pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                std::unique_ptr<pqxx::connection>& kept,
                                const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  try {
    if (!kept) kept = std::make_unique<pqxx::connection>(secret_conninfo);
    return run(*kept, allowed, body);
  } catch (const pqxx::sql_error& e) {
    const auto error = error_of(e);
    if (reaction_to(error) == reaction::reconnect) kept.reset();
    return pl::retry(described_with_advice(error));
  } catch (const pqxx::failure& e) {
    kept.reset();
    return pl::retry(described_with_advice({{}, meaning_of(e.what()), {}, {}, 0}));
  }
}

pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  std::unique_ptr<pqxx::connection> once;
  return in_transaction(secret_conninfo, allowed, once, body);
}

}  // namespace timescale
