// SPDX-License-Identifier: Apache-2.0
#include "positions.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <iterator>

namespace timescale {

std::string quoted_bytes(std::string_view bytes) {
  std::string sql = "E'\\\\x";  // this form means the same for any setting of standard_conforming_strings
  pl::append_hex(sql, bytes);
  return sql + "'::bytea";
}

namespace {

std::string literal(std::string_view text) { return quoted_literal(text); }

// Return a condition for all rows of this sink.
std::string owner(const position_tables& where) {
  return "pipeline = " + literal(where.pipeline) + " AND sink = " + literal(where.sink);
}
std::string row_of(const position_tables& where, std::string_view source, std::string_view stream) {
  return owner(where) + " AND source = " + literal(source) + " AND stream = " + literal(stream);
}

// Return a common table expression with the moves.
std::string wanted(const std::vector<move>& moves) {
  std::string values;
  for (const auto& m : moves)
    values += (values.empty() ? "(" : ",(") + literal(m.source) + ',' + literal(m.stream) + ',' +
              std::to_string(m.first) + "::bigint," + std::to_string(m.next) + "::bigint," + std::to_string(m.epoch) +
              "::bigint," + (m.prior ? std::to_string(*m.prior) : std::string("NULL")) + "::bigint)";
  return "want(source, stream, first, next, epoch, prior) AS (VALUES " + values + ")";
}

// Return the update for one stream, the usual case. It is planned in a third of the time of all_moved.
std::string one_moved(const position_tables& where, const move& m, std::uint64_t token) {
  return "moved AS (UPDATE " + where.positions.sql() + " SET next = " + std::to_string(m.next) +
         ", token = " + std::to_string(token) + ", moved = now() WHERE " + row_of(where, m.source, m.stream) +
         " AND next = " + std::to_string(m.first) + " AND epoch = " + std::to_string(m.epoch) +
         (m.prior ? " AND token = " + std::to_string(*m.prior) : std::string()) + " RETURNING 1)";
}

// Return the update for several streams. It locks rows in the order of their keys to avoid deadlocks.
std::string all_moved(const position_tables& where, const std::vector<move>& moves, std::uint64_t token) {
  const auto table = where.positions.sql();
  return wanted(moves) + ", held AS (SELECT p.source, p.stream, w.next FROM " + table +
         " p JOIN want w ON p.source = w.source AND p.stream = w.stream WHERE p." + owner(where) +
         " AND p.next = w.first AND p.epoch = w.epoch AND p.token = coalesce(w.prior, p.token) ORDER BY p.source, "
         "p.stream FOR UPDATE OF p), moved AS (UPDATE " +
         table + " p SET next = h.next, token = " + std::to_string(token) + ", moved = now() FROM held h WHERE p." +
         owner(where) + " AND p.source = h.source AND p.stream = h.stream RETURNING 1)";
}

}  // namespace

std::optional<std::vector<move>> moves_in(const pl::batch_list& batches) {
  auto moves = pl::moves_of(batches);
  if (!moves) return std::nullopt;
  return std::vector<move>(std::make_move_iterator(moves->begin()), std::make_move_iterator(moves->end()));
}

std::string move_sql(const position_tables& where, const std::vector<move>& moves, std::uint64_t token) {
  return "WITH " + (moves.size() == 1 ? one_moved(where, moves[0], token) : all_moved(where, moves, token)) +
         " SELECT 1 / (count(*) = " + std::to_string(moves.size()) + ")::int FROM moved";
}

namespace {

// Return the CREATE TABLE statements. fillfactor leaves room on each page for new versions of frequently updated rows.
std::vector<std::string> position_tables_sql(const position_tables& where) {
  return {
      "CREATE TABLE IF NOT EXISTS " + where.positions.sql() +
          " (pipeline text, sink text, source text, stream text, next bigint NOT NULL, epoch bigint NOT NULL, token "
          "bigint NOT NULL DEFAULT 0, moved timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (pipeline, sink, "
          "source, stream)) WITH (fillfactor = 50)",
      "CREATE TABLE IF NOT EXISTS " + where.state.sql() +
          " (pipeline text, sink text, source text, stream text, node text, key bytea, value bytea NOT NULL, "
          "PRIMARY KEY (pipeline, sink, source, stream, node, key)) WITH (fillfactor = 70)"};
}

}  // namespace

void locate(pqxx::transaction_base& tx, position_tables& where) {
  for (auto* table : {&where.positions, &where.state}) {
    if (!table->schema.empty()) continue;
    if (auto found = find_in_path(tx, table->table))
      *table = *std::move(found);
    else
      table->schema = qualified(tx, where.target).schema;
  }
}

std::string position_tables_warning(pqxx::transaction_base& tx, const position_tables& where) {
  const auto unlogged = [&](const table_name& t) {
    return !tx.exec("SELECT 1 FROM pg_class WHERE relpersistence = 'u' AND oid = to_regclass(" + literal(t.sql()) + ")")
                .empty();
  };
  if (!unlogged(where.positions) && !unlogged(where.state)) return {};
  return "'" + where.positions.shown() + "' or '" + where.state.shown() +
         "' is UNLOGGED: a crash of the server empties it, and 'delivery: exactly_once' then writes rows twice or "
         "loses "
         "alerts; run ALTER TABLE ... SET LOGGED";
}

pl::result<void> create_position_tables(pqxx::transaction_base& tx, const position_tables& where) {
  const auto there = [&](const table_name& t) {
    return !tx.exec("SELECT to_regclass(" + literal(t.sql()) + ")")[0][0].is_null();
  };
  if (there(where.positions) && there(where.state)) return {};
  tx.exec("SELECT pg_advisory_xact_lock(hashtextextended(" + literal("pipeline-host creates " + where.positions.sql()) +
          ", 0))");
  const auto statements = position_tables_sql(where);
  try {
    for (const auto& sql : statements) tx.exec(sql);
  } catch (const pqxx::insufficient_privilege& e) {
    return pl::retry("cannot create the tables for 'delivery: exactly_once': " + error_of(e).message +
                     "; GRANT CREATE on their schema to the user of 'url', or create them yourself and grant SELECT, "
                     "INSERT, UPDATE and DELETE: " +
                     statements[0] + "; " + statements[1]);
  }
  return {};
}

// ------------------------------------------------------------------------------------------------- position_client ---

// Entries that are read at a time, because the state of a stream can be large.
constexpr int entries_at_once = 500;

// A query that row-level security would filter fails instead. A hidden position would look like a stream without one.
constexpr const char* no_filter = "SET LOCAL row_security = off";

pl::result<void> position_client::locate_tables() {
  if (tables_exist_) return {};
  return ask([](pqxx::transaction_base&) { return pl::result<void>{}; });
}

pl::result<void> position_client::ask(const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  return ask([&](pqxx::transaction_base& tx, stall_guard&) { return body(tx); });
}

pl::result<void> position_client::ask(
    const std::function<pl::result<void>(pqxx::transaction_base&, stall_guard&)>& body) {
  const bool reused = connection_ != nullptr;
  auto result = in_transaction(secret_conninfo_, limits_, connection_, [&](pqxx::transaction_base& tx, stall_guard& g) {
    tx.exec(no_filter);
    if (tables_exist_) return body(tx, g);
    locate(tx, where_);
    if (auto made = create_position_tables(tx, where_); !made.ok()) return made;
    warning_ = position_tables_warning(tx, where_);
    return body(tx, g);
  });
  tables_exist_ = tables_exist_ || result.ok();
  // Retry once if a connection broke while it was idle.
  if (!result.ok() && reused && connection_ == nullptr) return ask(body);
  return result;
}

pl::result<pl_position> position_client::position(std::string_view source, std::string_view stream) {
  pl_position at{};
  auto asked = ask([&](pqxx::transaction_base& tx) -> pl::result<void> {
    const auto found =
        tx.exec("SELECT next, epoch FROM " + where_.positions.sql() + " WHERE " + row_of(where_, source, stream));
    if (!found.empty()) at = {found[0][0].as<std::uint64_t>(), found[0][1].as<std::uint64_t>()};
    return {};
  });
  if (!asked.ok()) return asked.why();
  return at;
}

namespace {

std::string watermark_sql(const position_tables& where, std::string_view source, std::string_view stream,
                          const pl_state_watermark& watermark) {
  const auto key = quoted_bytes(pl::view(watermark.key)), value = quoted_bytes(pl::view(watermark.value));
  if (watermark.rule == PL_WATERMARK_UPDATE)
    return "UPDATE " + where.state.sql() + " SET value = " + value + " WHERE " + row_of(where, source, stream) +
           " AND node = '' AND key = " + key;
  return "INSERT INTO " + where.state.sql() + " (pipeline, sink, source, stream, node, key, value) VALUES (" +
         literal(where.pipeline) + ',' + literal(where.sink) + ',' + literal(source) + ',' + literal(stream) + ",''," +
         key + ',' + value + ") ON CONFLICT DO NOTHING";
}

}  // namespace

pl::result<bool> position_client::claim(std::string_view source, std::string_view stream, pl_position seen,
                                        pl_position wanted, const pl_state_watermark& watermark) {
  bool claimed = false;
  auto asked = ask([&](pqxx::transaction_base& tx) -> pl::result<void> {
    const auto next = std::to_string(wanted.next), epoch = std::to_string(wanted.epoch);
    const auto sql = seen.epoch == 0
                         ? "INSERT INTO " + where_.positions.sql() +
                               " (pipeline, sink, source, stream, next, epoch) VALUES (" + literal(where_.pipeline) +
                               ',' + literal(where_.sink) + ',' + literal(source) + ',' + literal(stream) + ',' + next +
                               ',' + epoch + ") ON CONFLICT DO NOTHING RETURNING 1"
                         : "UPDATE " + where_.positions.sql() + " SET next = " + next + ", epoch = " + epoch +
                               ", token = 0, moved = now() WHERE " + row_of(where_, source, stream) +
                               " AND next = " + std::to_string(seen.next) +
                               " AND epoch = " + std::to_string(seen.epoch) + " RETURNING 1";
    claimed = !tx.exec(sql).empty();
    if (claimed && watermark.rule != PL_WATERMARK_NONE) tx.exec(watermark_sql(where_, source, stream, watermark));
    return {};
  });
  if (!asked.ok()) return asked.why();
  return claimed;
}

pl::result<void> position_client::load(std::string_view source, std::string_view stream,
                                       const pl::position_store::entry& each) {
  bool begun = false;
  return ask([&](pqxx::transaction_base& tx, stall_guard& guard) -> pl::result<void> {
    // `ask` repeats a query on another connection, but the entries must not be passed twice.
    if (begun) return pl::retry("the connection broke while the state was read");
    // Restoring may take longer than the host may be idle in other transactions.
    tx.exec("SET LOCAL idle_in_transaction_session_timeout = 0");
    tx.exec("DECLARE state_entries NO SCROLL CURSOR FOR SELECT node, encode(key, 'hex'), encode(value, 'hex') FROM " +
            where_.state.sql() + " WHERE " + row_of(where_, source, stream));
    while (true) {
      guard.wait_anew();
      const auto found = tx.exec("FETCH " + std::to_string(entries_at_once) + " FROM state_entries");
      if (found.empty()) return {};
      begun = true;
      guard.pause();  // the transforms restore their state
      for (const auto& row : found)
        each(row[0].as<std::string>(), *pl::from_hex(row[1].c_str()), *pl::from_hex(row[2].c_str()));
    }
  });
}

pl::result<std::vector<std::string>> position_client::streams(std::string_view source) {
  std::vector<std::string> all;
  auto asked =
      in_transaction(secret_conninfo_, limits_, connection_, [&](pqxx::transaction_base& tx) -> pl::result<void> {
        all.clear();
        tx.exec(no_filter);
        auto located = where_;
        locate(tx, located);
        std::string sql;
        for (const auto* table : {&located.positions, &located.state}) {
          if (tx.exec("SELECT to_regclass(" + literal(table->sql()) + ")")[0][0].is_null()) continue;
          sql += (sql.empty() ? "" : " UNION ") + ("SELECT stream FROM " + table->sql()) + " WHERE " + owner(where_) +
                 " AND source = " + literal(source);
        }
        if (sql.empty()) return {};
        for (const auto& row : tx.exec(sql + " ORDER BY stream")) all.push_back(row[0].as<std::string>());
        return {};
      });
  if (!asked.ok()) return asked.why();
  return all;
}

// Read position, epoch and token in one statement, because the write could be committed between two statements.
pl::result<std::optional<std::uint64_t>> position_client::token_of(const move& m) {
  std::optional<std::uint64_t> token;
  auto asked = ask([&](pqxx::transaction_base& tx) -> pl::result<void> {
    const auto found =
        tx.exec("SELECT token FROM " + where_.positions.sql() + " WHERE " + row_of(where_, m.source, m.stream) +
                " AND next = " + std::to_string(m.first) + " AND epoch = " + std::to_string(m.epoch));
    token = found.empty() ? std::nullopt : std::optional(found[0][0].as<std::uint64_t>());
    return {};
  });
  if (!asked.ok()) return asked.why();
  return token;
}

pl::result<position_client::progress> position_client::progress_of(const std::vector<move>& moves,
                                                                   std::uint64_t token) {
  std::size_t before = 0, after = 0;
  auto asked = ask([&](pqxx::transaction_base& tx) -> pl::result<void> {
    const auto written = "p.token = " + std::to_string(token);
    const auto found = tx.exec("WITH " + wanted(moves) + " SELECT count(*) FILTER (WHERE " + written +
                               " AND p.next = w.next), count(*) FILTER (WHERE NOT " + written +
                               " AND p.next = w.first) FROM " + where_.positions.sql() +
                               " p JOIN want w ON p.source = w.source AND p.stream = w.stream AND p.epoch = w.epoch "
                               "WHERE p." +
                               owner(where_));
    after = found[0][0].as<std::size_t>();
    before = found[0][1].as<std::size_t>();
    return {};
  });
  if (!asked.ok()) return asked.why();
  return after == moves.size() ? progress::after : before == moves.size() ? progress::before : progress::elsewhere;
}

}  // namespace timescale
