// SPDX-License-Identifier: Apache-2.0
// The options of timescale_sink.
#pragma once

#include <pipeline/options.hpp>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace timescale {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

enum class unmapped_fields { error, ignore };
constexpr std::array<std::pair<std::string_view, unmapped_fields>, 2> choices(unmapped_fields) {
  return {{{"error", unmapped_fields::error}, {"ignore", unmapped_fields::ignore}}};
}

// How to handle a row whose key already exists in the table.
enum class conflict_policy { error, ignore, update };
constexpr std::array<std::pair<std::string_view, conflict_policy>, 3> choices(conflict_policy) {
  return {
      {{"error", conflict_policy::error}, {"ignore", conflict_policy::ignore}, {"update", conflict_policy::update}}};
}

struct hypertable_options {
  bool enabled = true;
  std::string time_column = "time";
  nanoseconds chunk_interval = 24h;

  static pl::option_table<hypertable_options> table() {
    using o = hypertable_options;
    return {pl::option(&o::enabled, "enabled",
                       "Whether the created table becomes a hypertable, if the database has TimescaleDB."),
            pl::option(&o::time_column, "time_column", "Column by which the table is partitioned into chunks."),
            pl::option(&o::chunk_interval, "chunk_interval",
                       "Time range of one chunk. The indexes of the chunks being written should fit into memory.")
                .range(1)
                .example("12h")};
  }
};

struct compression_options {
  nanoseconds after = 7 * 24h;
  std::vector<std::string> segment_by;
  std::string order_by;

  static pl::option_table<compression_options> table() {
    using o = compression_options;
    return {pl::option(&o::after, "after", "Age at which a chunk is compressed.").range(1).example("7d"),
            pl::option(&o::segment_by, "segment_by",
                       "Columns that group the rows of compressed segments and can be read without decompression, such "
                       "as the device's id.")
                .example("[user_id, device_id]"),
            pl::option(&o::order_by, "order_by",
                       "SQL order of the rows within a segment. Default: the time column, newest first.")
                .example("time DESC")};
  }
};

struct create_options {
  std::map<std::string, std::string> columns;
  hypertable_options hypertable;
  std::optional<compression_options> compression;
  std::optional<nanoseconds> retention;
  std::vector<std::string> indexes;

  static pl::option_table<create_options> table() {
    using o = create_options;
    return {
        pl::option(
            &o::columns, "columns",
            "SQL types of columns. Use this to override a type that is derived from the kind of the field, or to add "
            "columns that the input does not have.")
            .example("{status: text, site: \"text NOT NULL DEFAULT 'home'\"}"),
        pl::option(&o::hypertable, "hypertable", "Hypertable settings, for a database with TimescaleDB.")
            .example("{chunk_interval: 12h}"),
        pl::option(&o::compression, "compression",
                   "Compress old chunks. Requires TimescaleDB's Community edition. Default: no compression.")
            .example("{after: 7d, segment_by: [device_id]}"),
        pl::option(&o::retention, "retention",
                   "Age at which chunks are dropped. Requires TimescaleDB's Community edition. Default: chunks are not "
                   "dropped.")
            .range(1)
            .example("90d"),
        pl::option(&o::indexes, "indexes",
                   "Indexes in addition to the one on time, as SQL column lists. Each index slows down writing.")
            .example("[\"device_id, time DESC\"]")};
  }
};

struct options {
  std::string url;
  std::string table_name = "raw_telemetry";
  std::map<std::string, std::string> columns;
  unmapped_fields unmapped = unmapped_fields::error;
  conflict_policy conflict = conflict_policy::error;
  std::vector<std::string> key;
  std::optional<create_options> create;
  std::string positions_table = "pipeline_positions", state_table = "pipeline_state";
  bool overlap = true;
  nanoseconds connect_timeout = 10s;
  nanoseconds statement_timeout = 30s;
  nanoseconds lock_timeout = 10s;
  nanoseconds stall_timeout = 60s;

  static pl::option_table<options> table() {
    using o = options;
    return {
        pl::option(&o::url, "url",
                   "Connection string: postgresql://user:password@host:port/database?sslmode=verify-full, or libpq's "
                   "key=value form. PgBouncer with transaction pooling is supported.")
            .required()
            .secret()
            .example("\"${DATABASE_URL}\""),
        pl::option(&o::table_name, "table",
                   "Table to write to: table or schema.table. Names are case-sensitive. Put double quotes around a "
                   "part that contains a dot.")
            .example("metrics.raw_telemetry"),
        pl::option(
            &o::columns, "columns",
            "Maps columns of the table to input fields, as 'column: field'. Other fields are not written. Default: "
            "each input field is written to the column of the same name.")
            .example("{temp: temperature, ts: time}"),
        pl::option(&o::unmapped, "unmapped",
                   "Without 'columns': what to do with an input field for which the table has no column."),
        pl::option(&o::conflict, "conflict",
                   "What to do with a row whose 'key' already exists in the table. 'error' sends the row to the dead "
                   "letters if it violates a unique constraint; 'ignore' keeps the existing row; 'update' overwrites "
                   "the other columns of the existing row. 'ignore' and 'update' slow down writing."),
        pl::option(&o::key, "key",
                   "With 'conflict: ignore' or 'update': the columns that identify a row. The table needs a unique "
                   "index or primary key over exactly these columns; 'create' creates one. In a hypertable, the key "
                   "must include the time column.")
            .example("[device_id, time]"),
        pl::option(&o::create, "create",
                   "Create the table if it does not exist; use {} for all defaults. An existing table is never "
                   "altered. Default: the table must exist.")
            .example("{hypertable: {chunk_interval: 1d}, retention: 90d}"),
        pl::option(&o::positions_table, "positions_table",
                   "With 'delivery: exactly_once': table that stores the positions of streams. Created if it does not "
                   "exist. Without a schema in its name, it is in the schema of 'table'.")
            .example("pipeline.positions"),
        pl::option(&o::state_table, "state_table",
                   "With 'delivery: exactly_once': table that stores the state of transforms. Created if it does not "
                   "exist.")
            .example("pipeline.state"),
        pl::option(
            &o::overlap, "overlap",
            "Under load, send the rows of the next transaction over a second connection while the database commits the "
            "current one. Has no effect if the table has triggers. false: one connection for each writer."),
        pl::option(&o::connect_timeout, "connect_timeout", "Timeout for connecting to one host.").range(2, 3600),
        pl::option(
            &o::statement_timeout, "statement_timeout",
            "Timeout after which the database cancels a statement. The write is then retried. 0: use the server's "
            "setting.")
            .range(0, 86400),
        pl::option(&o::lock_timeout, "lock_timeout",
                   "Timeout after which the database stops waiting for a lock on the table, such as that of an ALTER "
                   "TABLE. The write is then retried. 0: use the server's setting.")
            .range(0, 86400),
        pl::option(
            &o::stall_timeout, "stall_timeout",
            "Time without data from the server after which the connection is closed and opened again, and time after "
            "which the database ends a transaction of a host that stalls. Must be longer than statement_timeout and "
            "lock_timeout.")
            .range(1, 86400)};
  }
};

}  // namespace timescale
