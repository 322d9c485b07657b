// SPDX-License-Identifier: Apache-2.0
// The positions of streams and the state of transforms: two tables in addition to the target table, and the SQL that
// advances positions in the transaction of the rows. docs/decisions/0007-exactly-once.md describes the protocol.
#pragma once

#include "catalog.hpp"
#include "names.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/component.hpp>
#include <pipeline/moves.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace timescale {

// The change of one stream's position by one write.
struct move : pl::stream_move {
  move(pl::stream_move m, std::optional<std::uint64_t> before = {}) : pl::stream_move(std::move(m)), prior(before) {}
  // The token that must still be stored. Needed if the position does not change (rows of a timer): the position alone
  // would not distinguish an attempt that is committed late from the next one.
  std::optional<std::uint64_t> prior;

  // Compare without the token: all attempts of a write are equal.
  bool operator==(const move& o) const { return pl::stream_move::operator==(o); }
};

// The owner of the positions, and the tables that store them.
struct position_tables {
  std::string pipeline, sink;
  table_name positions, state;
  table_name target = {};  // the table of the rows: positions and state without a schema are beside it
};

// Return a literal of the type bytea.
[[nodiscard]] std::string quoted_bytes(std::string_view bytes);

// See pl::moves_of.
[[nodiscard]] std::optional<std::vector<move>> moves_in(const pl::batch_list& batches);

// Return a statement that advances the positions. It fails with a division by zero (SQLSTATE 22012) unless every stream
// is at the expected position. token: identifies the write, to determine later whether it was committed; not 0.
[[nodiscard]] std::string move_sql(const position_tables& where, const std::vector<move>& moves, std::uint64_t token);

// Add the schemas to names without one: a table that the search_path finds, or else one in the schema of `target`.
void locate(pqxx::transaction_base& tx, position_tables& where);

// Return a warning about tables that a crash of the server empties, or an empty string.
[[nodiscard]] std::string position_tables_warning(pqxx::transaction_base& tx, const position_tables& where);

// Create both tables if they do not exist. Several hosts may call it concurrently.
[[nodiscard]] pl::result<void> create_position_tables(pqxx::transaction_base& tx, const position_tables& where);

// Queries positions and state over a separate connection, which stays open and is opened again if it breaks. Used from
// one thread.
class position_client {
 public:
  position_client(std::string secret_conninfo, limits allowed, position_tables where)
      : secret_conninfo_(std::move(secret_conninfo)), limits_(allowed), where_(std::move(where)) {}

  // Find both tables once, with their schemas, and create missing ones. From then on they are never created.
  [[nodiscard]] pl::result<void> locate_tables();
  [[nodiscard]] const position_tables& tables() const noexcept { return where_; }  // once they are located
  [[nodiscard]] const std::string& warning() const noexcept { return warning_; }   // once they are located

  [[nodiscard]] pl::result<pl_position> position(std::string_view source, std::string_view stream);
  [[nodiscard]] pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen,
                                       pl_position wanted, const pl_state_watermark& watermark);
  [[nodiscard]] pl::result<void> load(std::string_view source, std::string_view stream,
                                      const pl::position_store::entry& each);

  // Return the streams of a source that have a position or state. Creates no tables.
  [[nodiscard]] pl::result<std::vector<std::string>> streams(std::string_view source);

  // Return the token of the last write to a stream, or nothing if the stream is at another position.
  [[nodiscard]] pl::result<std::optional<std::uint64_t>> token_of(const move& m);

  // Return whether the streams are before or after the write, for a write whose outcome is unknown.
  enum class progress { before, after, elsewhere };
  [[nodiscard]] pl::result<progress> progress_of(const std::vector<move>& moves, std::uint64_t token);

 private:
  [[nodiscard]] pl::result<void> ask(const std::function<pl::result<void>(pqxx::transaction_base&)>& body);
  [[nodiscard]] pl::result<void> ask(
      const std::function<pl::result<void>(pqxx::transaction_base&, stall_guard&)>& body);

  std::string secret_conninfo_;
  limits limits_;
  position_tables where_;
  std::unique_ptr<pqxx::connection> connection_;
  bool tables_exist_ = false;
  std::string warning_;
};

}  // namespace timescale
