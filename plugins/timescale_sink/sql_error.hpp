// SPDX-License-Identifier: Apache-2.0
// Errors of the database, and the reaction to each of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace timescale {

enum class reaction {
  reject_row,       // a row caused the error: find it, send it to the dead letters, write the others
  recheck_table,    // the table has changed: read the catalog again
  reconnect,        // this connection or this server can no longer be used
  retry,            // the connection is usable; a later attempt may succeed
  rows_identified,  // the rows that cannot be stored are known; nothing was written
  check_positions,  // a stream is not at the expected position
  retry_in_parts,   // a resource was exhausted: a later attempt, or one with fewer rows, may succeed
  give_up           // no retry helps, whatever the rows are
};

struct sql_error {
  std::string sqlstate;  // five characters; empty if the connection failed without an error from the server
  std::string message, detail, context;
  std::size_t statement = 0;  // index in the string of statements, from 0
  std::string hint = {};      // the server's advice

  [[nodiscard]] bool connection_lost() const { return sqlstate.empty(); }
};

[[nodiscard]] reaction reaction_to(const sql_error& error);

// Return whether a connection pooler allows no transactions.
[[nodiscard]] bool is_statement_pooling(const sql_error& error);

// Return the error as one line, with the server's DETAIL and HINT: "disk full (SQLSTATE 53100). HINT: ...".
[[nodiscard]] std::string described(const sql_error& error);

// Return advice for operators; empty if the only remedy is to wait.
[[nodiscard]] std::string_view advice(std::string_view sqlstate);
// Return advice for operators. A failed connection attempt is recognized by its message, if that is in English.
[[nodiscard]] std::string_view advice(const sql_error& error);
// Return the error with advice: "disk full (SQLSTATE 53100): free some space there". A hint of the server replaces ours.
[[nodiscard]] std::string described_with_advice(const sql_error& error);

// Return the row number, from 1, in an error of COPY, or 0 if there is none. Messages may be translated, so only the
// numbers are parsed. The result is a hint and may be wrong.
[[nodiscard]] std::size_t copy_line(const sql_error& error, std::string_view table);

}  // namespace timescale
