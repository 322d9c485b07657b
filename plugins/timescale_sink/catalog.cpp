// SPDX-License-Identifier: Apache-2.0
#include "catalog.hpp"

#include "session.hpp"

#include <sys/socket.h>

#include <stop_token>
#include <utility>

namespace timescale {

stall_guard::stall_guard(int socket, std::chrono::nanoseconds patience)
    : patience_(patience), until_(clock::now() + patience), thread_([this, socket](const std::stop_token& done) {
        std::unique_lock lock(mutex_);
        for (auto until = until_; wake_.wait_until(lock, done, until, [&] { return changed_; }); until = until_)
          changed_ = false;
        if (!done.stop_requested()) ::shutdown(socket, SHUT_RDWR);
      }) {}

void stall_guard::wait_anew() { set(clock::now() + patience_); }

void stall_guard::pause() { set(clock::now() + std::chrono::years(1)); }

void stall_guard::set(clock::time_point until) {
  const std::scoped_lock lock(mutex_);
  until_ = until;
  changed_ = true;
  wake_.notify_all();
}

namespace {

bool flag(const pqxx::row& row, const char* name) { return row[name].as<std::string>() == "t"; }

// A domain is resolved to its base type, with the length that is declared closest to the domain. Its NOT NULL and its
// default apply to the column.
constexpr const char* columns_sql = R"(
WITH RECURSIVE base(attnum, typid, typmod, not_null, has_default) AS (
  SELECT attnum, atttypid, atttypmod, attnotnull, atthasdef OR attidentity <> '' FROM pg_attribute
  WHERE attrelid = %OID% AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END,
         b.not_null OR t.typnotnull, b.has_default OR t.typdefault IS NOT NULL
  FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd')
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, r.proname AS receive,
       CASE WHEN r.proname IN ('varcharrecv', 'bpcharrecv') AND b.typmod > 4 THEN b.typmod - 4 ELSE 0 END AS length,
       b.not_null, b.has_default, a.attgenerated <> '' AS generated, a.attidentity = 'a' AS always_identity,
       has_column_privilege(a.attrelid, a.attnum, 'INSERT') AS may_insert,
       has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS may_select,
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS may_update
FROM pg_attribute a JOIN base b ON b.attnum = a.attnum JOIN pg_type t ON t.oid = b.typid AND t.typtype <> 'd'
     JOIN pg_proc r ON r.oid = t.typreceive
WHERE a.attrelid = %OID% ORDER BY a.attnum)";

// The indexes that ON CONFLICT (columns) can use: not partial, not deferrable, valid, and without expressions.
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
    c.always_identity = flag(row, "always_identity");
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

// Return a common table expression with the table and everything that inherits from it: partitions, chunks.
std::string tree_of(const std::string& oid) {
  return "WITH RECURSIVE tree(oid) AS (SELECT " + oid +
         "::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON t.oid = i.inhparent) ";
}

// A condition for pg_trigger g: it may run when a row is inserted. Triggers of foreign keys are internal.
constexpr const char* on_insert = "NOT g.tgisinternal AND g.tgtype & 4 <> 0";

// Return an expression that changes when a trigger for INSERT is created, dropped, enabled or disabled. Chunks are left out:
// they are many, and their triggers are those of the hypertable.
std::string triggers_expression(const table_info& table, const std::string& oid) {
  const bool of_partitions = table.kind == 'p';
  return "(" + (of_partitions ? tree_of(oid) : std::string()) +
         "SELECT hashtextextended(string_agg(concat_ws(':', g.oid, g.tgenabled), ',' ORDER BY g.oid), 0) FROM "
         "pg_trigger g WHERE g.tgrelid " +
         (of_partitions ? std::string("IN (SELECT oid FROM tree)") : "= " + oid) + " AND " + on_insert + ")";
}

// Return the fingerprint expression. It covers everything on which the binary rows, the plan and overlapping writes depend:
// which table it is, the name, type and constraints of each column, and the triggers. The length before a name keeps
// different lists of names apart.
std::string fingerprint_expression(const table_info& table) {
  const auto oid = quoted_literal(table.name.sql()) + "::regclass";
  return "(SELECT concat(attrelid::bigint, ':', hashtextextended(string_agg(concat_ws(':', attnum, "
         "octet_length(attname::text), attname, atttypid, atttypmod, attnotnull, attgenerated, attidentity, "
         "atthasdef), ',' ORDER BY attnum), 0), ':', " +
         triggers_expression(table, oid) + ") FROM pg_attribute WHERE attrelid = " + oid +
         " AND attnum > 0 AND NOT attisdropped GROUP BY attrelid)";
}

// Return the dimension columns; empty if the table is not a hypertable.
std::vector<std::string> dimensions_of(pqxx::transaction_base& tx, const table_name& name) {
  std::vector<std::string> columns;
  for (const auto& row :
       tx.exec("SELECT column_name FROM timescaledb_information.dimensions WHERE hypertable_schema = " +
               quoted_literal(name.schema) + " AND hypertable_name = " + quoted_literal(name.table) +
               " ORDER BY dimension_number"))
    columns.push_back(row[0].as<std::string>());
  return columns;
}

// A crash of the server empties unlogged tables. Partitions and chunks inherit from the table.
bool is_unlogged(pqxx::transaction_base& tx, const std::string& oid) {
  const auto found = tx.exec(tree_of(oid) +
                             "SELECT EXISTS (SELECT 1 "
                             "FROM tree JOIN pg_class c ON c.oid = tree.oid WHERE c.relpersistence = 'u') AS unlogged");
  return flag(found[0], "unlogged");
}

// Return whether a user's trigger runs when a row is inserted. TimescaleDB's own triggers are not meant. Disabled triggers do
// not run.
bool has_triggers(pqxx::transaction_base& tx, const std::string& oid) {
  const auto found =
      tx.exec(tree_of(oid) +
              "SELECT EXISTS (SELECT 1 FROM tree JOIN pg_trigger g ON g.tgrelid = tree.oid JOIN pg_proc "
              "p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE " +
              on_insert + " AND g.tgenabled <> 'D' AND NOT starts_with(n.nspname, '_timescaledb')) AS found");
  return flag(found[0], "found");
}

std::string milliseconds(std::chrono::nanoseconds d) {
  return std::to_string(std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

// Return the failure for a broken connection. libpqxx loses the server's last message when the connection ends, so the
// message is obtained with libpq.
pl::failure broken(std::string text, const std::string& secret_conninfo, std::chrono::nanoseconds patience) {
  if (text.find("Could not obtain client encoding") != std::string::npos) {
    text =
        "the server or a connection pooler closed the connection without a response: it was shut down, or the pooler "
        "had no free connection to the database in time";
    session probe(patience);
    auto error = probe.connect(secret_conninfo);
    if (!error) error = probe.run("BEGIN");  // alone: a pooler checks between strings of statements
    if (error) text = error->message;
  }
  const sql_error error{{}, std::move(text), {}, {}, 0};
  if (is_statement_pooling(error)) return pl::bad_option("url", described_with_advice(error));
  return pl::retry(described_with_advice(error));
}

// Suppresses notices, which libpqxx would print to stderr.
#if PQXX_VERSION_MAJOR < 7 || (PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR < 10)
using without_notices = pqxx::quiet_errorhandler;
#else
struct without_notices {
  explicit without_notices(pqxx::connection& connection) {
    connection.set_notice_handler([](pqxx::zview) noexcept {});
  }
};
#endif

// Return whether a transaction is read-only only because another client of a connection pooler left its session so.
// Called after `limits::sql`. A standby of PostgreSQL before 14 cannot be recognized; it rejects the change.
bool read_only_by_leak(pqxx::transaction_base& tx, int server_version) {
  const auto configured = tx.exec("SHOW default_transaction_read_only");
  if (configured[0][0].as<std::string>() == "on") return false;
  if (server_version < 140000) return true;
  const auto standby = tx.exec("SHOW in_hot_standby");
  return standby[0][0].as<std::string>() == "off";
}

pl::result<void> run(pqxx::connection& connection, const limits& allowed,
                     const std::function<pl::result<void>(pqxx::transaction_base&, stall_guard&)>& body) {
  stall_guard guard(connection.sock(), allowed.stall);
  const without_notices quiet(connection);
  pqxx::work tx(connection);
  // The statements of `limits` and SHOW take no snapshot, so the transaction may still become read-write.
  const auto read_only = tx.exec(allowed.sql() + "SHOW transaction_read_only");
  if (read_only[0][0].as<std::string>() == "on" && read_only_by_leak(tx, connection.server_version()))
    tx.exec("SET TRANSACTION READ WRITE");
  if (auto done = body(tx, guard); !done) return done;
  guard.wait_anew();
  tx.commit();
  return {};
}

}  // namespace

std::string limits::sql() const {
  // The protocol needs READ COMMITTED: after it has waited for a lock, a statement must see the committed row.
  std::string text = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;";
  // Everything that changes which tables and functions a name means, what text means, and what a commit promises.
  for (const auto* setting :
       {"role", "search_path", "default_transaction_read_only", "row_security", "synchronous_commit",
        "standard_conforming_strings", "datestyle", "intervalstyle", "timezone", "bytea_output", "extra_float_digits"})
    text += std::string("SET LOCAL ") + setting + " TO DEFAULT;";
  text += "SET LOCAL client_encoding TO 'UTF8';";
  const auto timeout = [&](const char* setting, std::chrono::nanoseconds value) {
    text += std::string("SET LOCAL ") + setting + " TO " + (value.count() == 0 ? "DEFAULT" : milliseconds(value)) + ';';
  };
  timeout("statement_timeout", statement);
  timeout("lock_timeout", lock);
  // A host that stalls within a transaction holds locks, for example on a new chunk, that block other hosts.
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
      "pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only, "
      "current_setting('synchronous_commit') = 'off' AS commits_later, "
      "current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true) IS NOT NULL AS decompression");
  const auto row = found[0];
  server.version = row["version"].as<std::string>();
  server.version = server.version.substr(0, server.version.find(' '));
  server.timescale = row["timescale"].as<std::string>();
  server.timescale_offered = flag(row, "offered");
  server.community = flag(row, "community");
  server.read_only = flag(row, "read_only");
  server.commits_later = flag(row, "commits_later");
  server.limits_decompression = flag(row, "decompression");
  return server;
}

schema_state inspect_schema(pqxx::transaction_base& tx, const std::string& schema) {
  const auto found = tx.exec("SELECT has_schema_privilege(oid, 'USAGE') AS usable FROM pg_namespace WHERE nspname = " +
                             quoted_literal(schema));
  if (found.empty()) return schema_state::missing;
  return flag(found[0], "usable") ? schema_state::usable : schema_state::forbidden;
}

std::optional<table_name> find_in_path(pqxx::transaction_base& tx, const std::string& table) {
  const auto found = tx.exec(
      "SELECT s.schema FROM unnest(current_schemas(false)) WITH ORDINALITY AS s(schema, place) JOIN pg_namespace n ON "
      "n.nspname = s.schema JOIN pg_class c ON c.relnamespace = n.oid WHERE c.relname = " +
      quoted_literal(table) + " ORDER BY s.place LIMIT 1");
  if (found.empty()) return std::nullopt;
  return table_name{found[0][0].as<std::string>(), table};
}

table_name qualified(pqxx::transaction_base& tx, const table_name& name) {
  if (!name.schema.empty()) return name;
  if (auto found = find_in_path(tx, name.table)) return *std::move(found);
  const auto schema = tx.exec("SELECT coalesce(current_schema(), '')");
  return {schema[0][0].as<std::string>(), name.table};
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
  table.has_triggers = has_triggers(tx, row["oid"].as<std::string>());
  table.unlogged = is_unlogged(tx, row["oid"].as<std::string>());
  table.fingerprint_sql = fingerprint_expression(table);
  const auto now = tx.exec("SELECT " + table.fingerprint_sql);
  if (!now[0][0].is_null()) table.fingerprint = now[0][0].as<std::string>();  // null: it has no columns
  return table;
}

std::vector<std::string> visible_tables(pqxx::transaction_base& tx, const table_name& name) {
  std::string sql =
      "SELECT c.relname AS table, n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT "
      "starts_with(n.nspname, '_timescaledb') AND has_schema_privilege(n.oid, 'USAGE')";
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
  const std::string all = e.what();
  const auto line_after = [&](std::string_view start, std::size_t from) {
    const auto text = all.substr(from, all.find('\n', from) - from);
    const auto colon = text.find(":  ");
    return text.starts_with(start) && colon != std::string::npos ? text.substr(colon + 3) : std::string{};
  };
  // The other lines are the position in a generated statement.
  sql_error error{e.sqlstate(), line_after("", 0), {}, {}, 0};
  if (error.message.empty()) error.message = all.substr(0, all.find('\n'));
  for (auto at = all.find('\n'); at != std::string::npos; at = all.find('\n', at + 1)) {
    if (auto text = line_after("DETAIL:", at + 1); !text.empty()) error.detail = std::move(text);
    if (auto text = line_after("HINT:", at + 1); !text.empty()) error.hint = std::move(text);
  }
  return error;
}

pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                std::unique_ptr<pqxx::connection>& kept,
                                const std::function<pl::result<void>(pqxx::transaction_base&, stall_guard&)>& body) {
  try {
    if (!kept) kept = std::make_unique<pqxx::connection>(secret_conninfo);
    return run(*kept, allowed, body);
  } catch (const pqxx::sql_error& e) {
    const auto error = error_of(e);
    if (reaction_to(error) == reaction::reconnect) kept.reset();
    return pl::retry(described_with_advice(error));
  } catch (const pqxx::failure& e) {
    kept.reset();
    return broken(e.what(), secret_conninfo, allowed.stall);
  }
}

pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                std::unique_ptr<pqxx::connection>& kept,
                                const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  return in_transaction(secret_conninfo, allowed, kept,
                        [&](pqxx::transaction_base& tx, stall_guard&) { return body(tx); });
}

pl::result<void> in_transaction(const std::string& secret_conninfo, const limits& allowed,
                                const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  std::unique_ptr<pqxx::connection> once;
  return in_transaction(secret_conninfo, allowed, once, body);
}

}  // namespace timescale
