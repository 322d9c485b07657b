// SPDX-License-Identifier: Apache-2.0
#include "positions.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

namespace timescale {
namespace {

std::string literal(std::string_view text) { return quoted_literal(text); }

std::string bytes_literal(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string sql = "'\\x";
  sql.reserve(bytes.size() * 2 + 16);
  for (const auto c : bytes) {
    sql.push_back(digits[static_cast<unsigned char>(c) >> 4U]);
    sql.push_back(digits[static_cast<unsigned char>(c) & 15U]);
  }
  return sql + "'::bytea";
}

// Of one row of either table, but for the key of the state.
std::string owner(const position_tables& where) {
  return "pipeline = " + literal(where.pipeline) + " AND sink = " + literal(where.sink);
}
std::string row_of(const position_tables& where, std::string_view source, std::string_view stream) {
  return owner(where) + " AND source = " + literal(source) + " AND stream = " + literal(stream);
}

// A table of an SQL statement.
std::string wanted(const std::vector<move>& moves) {
  std::string values;
  for (const auto& m : moves)
    values += (values.empty() ? "(" : ",(") + literal(m.source) + ',' + literal(m.stream) + ',' +
              std::to_string(m.first) + "::bigint," + std::to_string(m.next) + "::bigint," + std::to_string(m.epoch) +
              "::bigint," + (m.prior ? std::to_string(*m.prior) : std::string("NULL")) + "::bigint)";
  return "want(source, stream, first, next, epoch, prior) AS (VALUES " + values + ")";
}

// The usual write is of one stream, and planned in a third of the time.
std::string one_moved(const position_tables& where, const move& m, std::uint64_t token) {
  return "moved AS (UPDATE " + where.positions.sql() + " SET next = " + std::to_string(m.next) +
         ", token = " + std::to_string(token) + ", moved = now() WHERE " + row_of(where, m.source, m.stream) +
         " AND next = " + std::to_string(m.first) + " AND epoch = " + std::to_string(m.epoch) +
         (m.prior ? " AND token = " + std::to_string(*m.prior) : std::string()) + " RETURNING 1)";
}

// Rows are locked in the order of their key, so that no two writes wait for each other.
std::string all_moved(const position_tables& where, const std::vector<move>& moves, std::uint64_t token) {
  const auto table = where.positions.sql();
  return wanted(moves) + ", held AS (SELECT p.source, p.stream, w.next FROM " + table +
         " p JOIN want w ON p.source = w.source AND p.stream = w.stream WHERE p." + owner(where) +
         " AND p.next = w.first AND p.epoch = w.epoch AND p.token = coalesce(w.prior, p.token) ORDER BY p.source, "
         "p.stream FOR UPDATE OF p), moved AS (UPDATE " +
         table + " p SET next = h.next, token = " + std::to_string(token) + ", moved = now() FROM held h WHERE p." +
         owner(where) + " AND p.source = h.source AND p.stream = h.stream RETURNING 1)";
}

std::string bytes_of_hex(std::string_view hex) {
  std::string bytes;
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(digit(hex[i]) << 4U | digit(hex[i + 1])));
  return bytes;
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

std::vector<std::string> change_sql(const position_tables& where, const pl::batch_list& batches) {
  using key = std::tuple<std::string_view, std::string_view, std::string_view, std::string_view>;
  std::map<key, const pl_change*> last;  // and in the order of their keys
  for (const auto batch : batches)
    for (const auto& c : batch.changes()) {
      const auto& r = batch.ranges()[c.range];
      last[{pl::view(r.source), pl::view(r.stream), pl::view(c.node), pl::view(c.key)}] = &c;
    }
  std::string kept, gone;
  for (const auto& [k, c] : last) {
    const auto& [source, stream, node, name] = k;
    auto& to = c->erase != 0 ? gone : kept;
    to += (to.empty() ? "(" : ",(");
    to += literal(where.pipeline) + ',' + literal(where.sink) + ',' + literal(source) + ',' + literal(stream) + ',' +
          literal(node) + ',' + bytes_literal(name) + (c->erase != 0 ? "" : ',' + bytes_literal(pl::view(c->value))) +
          ')';
  }
  std::vector<std::string> sql;
  if (!kept.empty())
    sql.push_back("INSERT INTO " + where.state.sql() + " (pipeline, sink, source, stream, node, key, value) VALUES " +
                  kept +
                  " ON CONFLICT (pipeline, sink, source, stream, node, key) DO UPDATE SET value = EXCLUDED.value");
  if (!gone.empty())
    sql.push_back("DELETE FROM " + where.state.sql() +
                  " WHERE (pipeline, sink, source, stream, node, key) IN (VALUES " + gone + ")");
  return sql;
}

namespace {

// Room on each page for new versions of a row that is updated with every write.
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
    return pl::retry("can't make the tables for 'delivery: exactly_once': " + error_of(e).message +
                     "; GRANT CREATE on their schema to the user of 'url', or make them yourself and grant SELECT, "
                     "INSERT, UPDATE and DELETE: " +
                     statements[0] + "; " + statements[1]);
  }
  return {};
}

// ------------------------------------------------------------------------------------------------- position_book ---

pl::result<void> position_book::ask(const std::function<pl::result<void>(pqxx::transaction_base&)>& body) {
  const bool reused = connection_ != nullptr;
  auto answer = in_transaction(secret_conninfo_, limits_, connection_, [&](pqxx::transaction_base& tx) {
    if (!tables_are_there_)
      if (auto made = create_position_tables(tx, where_); !made.ok()) return made;
    return body(tx);
  });
  tables_are_there_ = tables_are_there_ || answer.ok();
  // A connection that broke while nobody looked is no news.
  if (!answer.ok() && reused && connection_ == nullptr) return ask(body);
  return answer;
}

pl::result<pl_position> position_book::position(std::string_view source, std::string_view stream) {
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

std::string mark_sql(const position_tables& where, std::string_view source, std::string_view stream,
                     const pl_mark& mark) {
  const auto key = bytes_literal(pl::view(mark.key)), value = bytes_literal(pl::view(mark.value));
  if (mark.rule == PL_MARK_AGAIN)
    return "UPDATE " + where.state.sql() + " SET value = " + value + " WHERE " + row_of(where, source, stream) +
           " AND node = '' AND key = " + key;
  return "INSERT INTO " + where.state.sql() + " (pipeline, sink, source, stream, node, key, value) VALUES (" +
         literal(where.pipeline) + ',' + literal(where.sink) + ',' + literal(source) + ',' + literal(stream) + ",''," +
         key + ',' + value + ") ON CONFLICT DO NOTHING";
}

}  // namespace

pl::result<bool> position_book::claim(std::string_view source, std::string_view stream, pl_position seen,
                                      pl_position wanted, const pl_mark& mark) {
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
    if (claimed && mark.rule != PL_MARK_NOTHING) tx.exec(mark_sql(where_, source, stream, mark));
    return {};
  });
  if (!asked.ok()) return asked.why();
  return claimed;
}

pl::result<void> position_book::load(std::string_view source, std::string_view stream,
                                     const pl::position_store::entry& each) {
  pqxx::result found;
  auto asked = ask([&](pqxx::transaction_base& tx) -> pl::result<void> {
    found = tx.exec("SELECT node, encode(key, 'hex'), encode(value, 'hex') FROM " + where_.state.sql() + " WHERE " +
                    row_of(where_, source, stream));
    return {};
  });
  if (!asked.ok()) return asked;
  for (const auto& row : found)
    each(row[0].as<std::string>(), bytes_of_hex(row[1].c_str()), bytes_of_hex(row[2].c_str()));
  return {};
}

// In one statement: between two of them the write could be committed.
pl::result<std::optional<std::uint64_t>> position_book::token_of(const move& m) {
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

pl::result<position_book::standing> position_book::standing_of(const std::vector<move>& moves, std::uint64_t token) {
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
  return after == moves.size() ? standing::after : before == moves.size() ? standing::before : standing::elsewhere;
}

}  // namespace timescale
