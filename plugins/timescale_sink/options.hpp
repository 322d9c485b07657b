// SPDX-License-Identifier: Apache-2.0
// What a user can say about this sink.
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

// What becomes of a row whose key the table has already.
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
                       "Whether the created table becomes a hypertable where the database has TimescaleDB."),
            pl::option(&o::time_column, "time_column", "The column by whose time the table is cut into chunks."),
            pl::option(&o::chunk_interval, "chunk_interval",
                       "How much time one chunk holds; the indexes of the chunks being written should fit into memory.")
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
                       "Columns whose values stay readable without decompressing, such as the device's id.")
                .example("[user_id, device_id]"),
            pl::option(&o::order_by, "order_by",
                       "SQL order of the rows inside a segment; default: the time column, newest first.")
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
            "SQL types of columns, where the ones that follow from the columns' names don't suit, and of columns "
            "that the table has beyond what comes in.")
            .example("{status: text, site: \"text NOT NULL DEFAULT 'home'\"}"),
        pl::option(&o::hypertable, "hypertable", "The hypertable, in a database with TimescaleDB.")
            .example("{chunk_interval: 12h}"),
        pl::option(&o::compression, "compression",
                   "Compresses old chunks; needs TimescaleDB's Community edition. Default: no compression.")
            .example("{after: 7d, segment_by: [device_id]}"),
        pl::option(&o::retention, "retention",
                   "Age at which chunks are dropped; needs TimescaleDB's Community edition. Default: kept for ever.")
            .range(1)
            .example("90d"),
        pl::option(&o::indexes, "indexes",
                   "Indexes besides the one on time: SQL lists of columns. Each costs some of the speed of writing.")
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
  nanoseconds connect_timeout = 10s;
  nanoseconds statement_timeout = 30s;
  nanoseconds lock_timeout = 10s;
  nanoseconds stall_timeout = 60s;

  static pl::option_table<options> table() {
    using o = options;
    return {
        pl::option(
            &o::url, "url",
            "Where the database is: postgresql://user:password@host:port/database?sslmode=verify-full, or libpq's "
            "key=value form. PgBouncer in transaction pooling is fine.")
            .required()
            .secret()
            .example("\"${DATABASE_URL}\""),
        pl::option(&o::table_name, "table",
                   "Table to write to: table or schema.table, taken literally (upper case stays upper case); double "
                   "quotes around a part that has a dot in it.")
            .example("metrics.raw_telemetry"),
        pl::option(
            &o::columns, "columns",
            "What goes where, as 'column of the table: incoming field'; fields that aren't named are not written. "
            "Default: each incoming field goes into the column of the same name.")
            .example("{temp: temperature, ts: time}"),
        pl::option(&o::unmapped, "unmapped",
                   "Without 'columns': what to do about an incoming field that the table has no column for."),
        pl::option(&o::conflict, "conflict",
                   "What to do about a row whose 'key' the table has already: 'error' gives it to the dead letters, if "
                   "the table has a constraint that refuses it; 'ignore' keeps the row that is there; 'update' writes "
                   "its other columns over that one's. The last two cost some of the speed of writing."),
        pl::option(&o::key, "key",
                   "With 'conflict: ignore' or 'update': the columns that tell rows apart. The table needs a unique "
                   "index or primary key over exactly these; 'create' makes one. In a hypertable the time column is "
                   "one of them.")
            .example("[device_id, time]"),
        pl::option(&o::create, "create",
                   "Creates the table if it isn't there, {} with all defaults; a table that exists is never altered. "
                   "Default: the table must exist.")
            .example("{hypertable: {chunk_interval: 1d}, retention: 90d}"),
        pl::option(&o::positions_table, "positions_table",
                   "With 'delivery: exactly_once': where the positions of streams are kept; made where it is missing, "
                   "in the schema of 'table' unless it names one.")
            .example("pipeline.positions"),
        pl::option(&o::state_table, "state_table",
                   "With 'delivery: exactly_once': where the state of transforms is kept; made where it is missing.")
            .example("pipeline.state"),
        pl::option(&o::connect_timeout, "connect_timeout", "How long connecting to one host may take.").range(2, 3600),
        pl::option(
            &o::statement_timeout, "statement_timeout",
            "How long the database may work on one statement before it gives up and the write is tried again; 0: "
            "the server's own setting.")
            .range(0, 86400),
        pl::option(&o::lock_timeout, "lock_timeout",
                   "How long the database may wait for a lock on the table (somebody's ALTER TABLE) before it gives up "
                   "and the write is tried again; 0: the server's own setting.")
            .range(0, 86400),
        pl::option(
            &o::stall_timeout, "stall_timeout",
            "How long the connection may be silent before it is taken for dead and opened anew, and how long the "
            "database waits in the middle of a transaction for a host that stands still; longer than "
            "statement_timeout.")
            .range(1, 86400)};
  }
};

}  // namespace timescale
