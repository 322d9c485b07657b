// SPDX-License-Identifier: Apache-2.0
#include "creation.hpp"

namespace timescale {
namespace {

std::string interval(nanoseconds d) {
  if (d % 24h == nanoseconds::zero()) return "INTERVAL '" + std::to_string(d / 24h) + " days'";
  return "INTERVAL '" + std::to_string(d / 1us) + " microseconds'";
}

std::string compression_sql(const std::string& table, const create_options& create) {
  std::string segments;
  for (const auto& s : create.compression->segment_by) segments += (segments.empty() ? "" : ",") + quoted_identifier(s);
  auto order = create.compression->order_by;
  if (order.empty()) order = quoted_identifier(create.hypertable.time_column) + " DESC";
  return "ALTER TABLE " + table +
         " SET (timescaledb.compress, timescaledb.compress_orderby = " + quoted_literal(order) +
         (segments.empty() ? "" : ", timescaledb.compress_segmentby = " + quoted_literal(segments)) + ")";
}

}  // namespace

void lock_creation(pqxx::transaction_base& tx, const table_name& name) {
  tx.exec("SELECT pg_advisory_xact_lock(hashtextextended(" + quoted_literal("pipeline-host creates " + name.sql()) +
          ", 0))");
}

std::vector<std::string> creation_sql(const table_name& name, const table_design& design, const create_options& create,
                                      std::span<const std::string> key, const server_info& server) {
  const auto table = name.sql();
  std::vector<std::string> sql{"CREATE TABLE " + table + " ("};
  for (const auto& [column, type] : design.columns)
    sql[0] += (&column == &design.columns[0].first ? "" : ", ") + quoted_identifier(column) + ' ' + type;
  sql[0] += ')';

  const bool hypertable = create.hypertable.enabled && !server.timescale.empty();
  const auto time = quoted_identifier(create.hypertable.time_column);
  if (hypertable)
    sql.push_back("SELECT create_hypertable(" + quoted_literal(table) + "::regclass, " +
                  quoted_literal(create.hypertable.time_column) + ", chunk_time_interval => " +
                  interval(create.hypertable.chunk_interval) + ")");
  else if (create.hypertable.enabled)
    sql.push_back("CREATE INDEX ON " + table + " (" + time + " DESC)");  // create_hypertable creates it otherwise
  if (!key.empty()) sql.push_back(unique_index_sql(name, key));
  for (const auto& columns : create.indexes) sql.push_back("CREATE INDEX ON " + table + " (" + columns + ")");

  if (!hypertable || !server.community) return sql;
  if (create.compression) {
    sql.push_back(compression_sql(table, create));
    sql.push_back("SELECT add_compression_policy(" + quoted_literal(table) + "::regclass, " +
                  interval(create.compression->after) + ")");
  }
  if (create.retention)
    sql.push_back("SELECT add_retention_policy(" + quoted_literal(table) + "::regclass, " +
                  interval(*create.retention) + ")");
  return sql;
}

std::vector<std::string> create_table(pqxx::transaction_base& tx, const table_name& name, const table_design& design,
                                      const create_options& create, std::span<const std::string> key,
                                      const server_info& server) {
  for (const auto& statement : creation_sql(name, design, create, key, server)) tx.exec(statement);
  std::vector<std::string> missing;
  if (!create.hypertable.enabled || server.community) return missing;
  const auto where = server.timescale.empty() ? "PostgreSQL without TimescaleDB" : "TimescaleDB's Apache edition";
  if (create.compression)
    missing.push_back(std::string("'create.compression' has no effect: ") + where + " does not compress chunks");
  if (create.retention)
    missing.push_back(std::string("'create.retention' has no effect: ") + where +
                      " has no retention policies; old rows are not deleted automatically");
  return missing;
}

findings creation_findings(const create_options& create) {
  findings found;
  const auto one_piece = [&](std::string option, std::string_view sql) {
    if (sql.empty())
      found.push_back({std::move(option), "is empty; write SQL, or remove the entry"});
    else if (sql.find(';') != std::string_view::npos)
      found.push_back({std::move(option), "contains a ';'; write a single SQL fragment without further statements"});
  };
  for (const auto& [column, type] : create.columns) one_piece("create.columns." + column, type);
  for (std::size_t i = 0; i < create.indexes.size(); ++i)
    one_piece("create.indexes[" + std::to_string(i) + "]", create.indexes[i]);
  if (!create.hypertable.enabled && (create.compression || create.retention))
    found.push_back({create.compression ? "create.compression" : "create.retention",
                     "needs a hypertable: remove 'enabled: false' from 'create.hypertable'"});
  return found;
}

}  // namespace timescale
