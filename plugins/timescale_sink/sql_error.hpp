// SPDX-License-Identifier: Apache-2.0
// What the database says when it refuses something, and what follows from it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace timescale {

enum class reaction {
  reject_row,      // a row's own fault: find it, give it to the dead letters, write the others
  recheck_table,   // the table isn't what it was: read the catalog again
  reconnect,       // this connection, or this server, is of no use any more
  try_again,       // the connection is fine; later may be better
  rows_named,      // the rows that can't be stored are known; nothing was written
  check_positions  // a stream does not stand where it should
};

struct sql_error {
  std::string sqlstate;  // five characters; empty where the connection failed before the server could say anything
  std::string message, detail, context;
  std::size_t statement = 0;  // which one of the string of statements, from 0

  [[nodiscard]] bool connection_lost() const { return sqlstate.empty(); }
};

[[nodiscard]] reaction reaction_to(const sql_error& error);

// "disk full (SQLSTATE 53100)", one line.
[[nodiscard]] std::string described(const sql_error& error);

// What a person can do about it; empty where nothing but waiting is known.
[[nodiscard]] std::string_view advice(std::string_view sqlstate);
// The same; of a connection that did not come about by its message, as long as that is in English.
[[nodiscard]] std::string_view advice(const sql_error& error);
// "disk full (SQLSTATE 53100): make room there"
[[nodiscard]] std::string described_with_advice(const sql_error& error);

// The number of the row that an error of COPY speaks of, counted from 1; 0 where it doesn't say. Messages are
// translated, so this reads numbers only. A hint: never rely on it being right.
[[nodiscard]] std::size_t copy_line(const sql_error& error, std::string_view table);

}  // namespace timescale
