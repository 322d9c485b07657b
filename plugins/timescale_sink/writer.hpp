// SPDX-License-Identifier: Apache-2.0
// One transaction: rows by COPY, then whatever else belongs to them, then COMMIT. Three round trips, if nothing is wrong.
#pragma once

#include "encoder.hpp"
#include "mapping.hpp"
#include "session.hpp"
#include "sql_error.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

// A schema that comes in, and how its rows are written.
struct prepared_schema {
  const pl_schema* schema;
  copy_plan plan;
  row_encoder encoder;
};

struct portion {
  pl::batch_view batch;
  prepared_schema* how;
};

// Joins the transaction behind the rows, in the order given, in one string with COMMIT. One that must stop the commit
// divides by zero; `on_check` is what follows from that.
struct closing_statement {
  std::string sql;
  reaction on_check = reaction::try_again;
};

// What becomes of a write with rows that can't be stored: the others are, or nothing is until they are out of the way.
enum class refused_rows { leave_out, stop };

struct write_failure {
  sql_error error;
  reaction what;
  bool at_commit = false;  // with a lost connection: nobody knows whether it was committed
};

class writer {
 public:
  struct rejection {
    std::uint32_t portion;
    pl::row_index row;
    std::size_t why, length;  // in reasons_
  };

  explicit writer(std::string settings) : opening_("BEGIN;" + std::move(settings)) {}

  // Runs in each transaction before COMMIT, and before rows are blamed: fails if the table isn't what the plans are
  // for.
  void set_table_check(std::string sql) { table_check_ = std::move(sql); }

  // All rows that can be written are, and the others are in rejected(); or nothing is, and the session is out of its
  // transaction.
  [[nodiscard]] std::optional<write_failure> write(session& to, std::span<const portion> portions,
                                                   std::span<const closing_statement> closing,
                                                   refused_rows refused = refused_rows::leave_out);

  // Of the last write: rows in the order of the portions.
  [[nodiscard]] std::span<const rejection> rejected() const noexcept { return rejected_; }
  [[nodiscard]] std::string_view why(const rejection& r) const noexcept {
    return std::string_view(reasons_).substr(r.why, r.length);
  }
  [[nodiscard]] std::uint64_t rows_written() const noexcept { return written_; }
  [[nodiscard]] bool searched() const noexcept { return searched_; }

 private:
  struct row_ref {
    std::uint32_t portion;
    pl::row_index row;
  };
  struct attempt {  // where COPY stopped
    std::optional<write_failure> failure;
    std::size_t first_of_copy = 0;  // rows that were sent before the COPY that failed
    std::string_view landing = {};  // of the last COPY; still to be run
  };
  struct remainder {  // statements that are to follow the rows
    std::string_view landing;
    bool check_table;
    std::span<const closing_statement> closing;
  };

  [[nodiscard]] attempt write_at_once(session& to, std::span<const portion> portions);
  [[nodiscard]] std::optional<write_failure> write_searching(session& to, std::span<const portion> portions,
                                                             std::span<const closing_statement> closing,
                                                             const attempt& before);
  [[nodiscard]] std::optional<write_failure> search_group(session& to, std::span<const portion> portions,
                                                          std::span<const row_ref> rows, std::size_t suspect);
  [[nodiscard]] maybe_error copy_rows(session& to, std::span<const portion> portions, std::span<const row_ref> rows,
                                      std::string_view before);
  // end: COMMIT, or empty where rows follow.
  [[nodiscard]] std::optional<write_failure> finish(session& to, const remainder& what, std::string_view end);
  [[nodiscard]] static write_failure blame(sql_error error, const remainder& what, bool committing);
  [[nodiscard]] maybe_error send_rows(session& to, const portion& p, std::uint32_t index, std::size_t& sent);
  [[nodiscard]] maybe_error begin_copy(session& to, const std::string& statements);
  [[nodiscard]] maybe_error end_copy(session& to);
  void reject(std::uint32_t portion, pl::row_index row, std::string_view why);
  [[nodiscard]] std::vector<row_ref> rows_to_try(std::span<const portion> portions);

  std::string opening_, table_check_, undo_;
  byte_buffer buffer_;
  std::vector<rejection> rejected_;
  std::string reasons_;
  std::uint64_t written_ = 0;
  bool searched_ = false;
};

}  // namespace timescale
