// SPDX-License-Identifier: Apache-2.0
// The positions of streams and the state of transforms: two tables beside the one that is written to, and the SQL that
// moves a position in the transaction of the rows. docs/decisions/0007-exactly-once.md has the protocol.
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

// How far one write moves one stream.
struct move : pl::stream_move {
  move(pl::stream_move m, std::optional<std::uint64_t> before = {}) : pl::stream_move(std::move(m)), prior(before) {}
  // The token that must still be there. Needed where the position doesn't move (rows of a timer): it wouldn't tell a try that
  // is committed late from the next one.
  std::optional<std::uint64_t> prior;

  // The same write, at whichever try.
  bool operator==(const move& o) const { return pl::stream_move::operator==(o); }
};

// Whose positions they are, and where they are kept.
struct position_tables {
  std::string pipeline, sink;
  table_name positions, state;
};

// As pl::moves_of.
[[nodiscard]] std::optional<std::vector<move>> moves_in(const pl::batch_list& batches);

// Fails with a division by zero (SQLSTATE 22012) unless every stream stands where it should. token: names the write, so
// that it can be told later whether it was committed; not 0.
[[nodiscard]] std::string move_sql(const position_tables& where, const std::vector<move>& moves, std::uint64_t token);

// Statements that bring the state up to the changes of the batches; empty: there are none.
[[nodiscard]] std::vector<std::string> change_sql(const position_tables& where, const pl::batch_list& batches);

// Makes both tables where they are missing. Many hosts may do it at once.
[[nodiscard]] pl::result<void> create_position_tables(pqxx::transaction_base& tx, const position_tables& where);

// A connection that is kept for the next question, and opened anew where it broke. One thread.
class position_book {
 public:
  position_book(std::string secret_conninfo, limits allowed, position_tables where)
      : secret_conninfo_(std::move(secret_conninfo)), limits_(allowed), where_(std::move(where)) {}

  [[nodiscard]] pl::result<pl_position> position(std::string_view source, std::string_view stream);
  [[nodiscard]] pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen,
                                       pl_position wanted, const pl_mark& mark);
  [[nodiscard]] pl::result<void> load(std::string_view source, std::string_view stream,
                                      const pl::position_store::entry& each);

  // The token of the last write to a stream; nothing where it stands elsewhere.
  [[nodiscard]] pl::result<std::optional<std::uint64_t>> token_of(const move& m);

  // After a write that may or may not have been committed.
  enum class standing { before, after, elsewhere };
  [[nodiscard]] pl::result<standing> standing_of(const std::vector<move>& moves, std::uint64_t token);

 private:
  [[nodiscard]] pl::result<void> ask(const std::function<pl::result<void>(pqxx::transaction_base&)>& body);

  std::string secret_conninfo_;
  limits limits_;
  position_tables where_;
  std::unique_ptr<pqxx::connection> connection_;
  bool tables_are_there_ = false;
};

}  // namespace timescale
