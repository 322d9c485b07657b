// SPDX-License-Identifier: Apache-2.0
// Writes one transaction: rows by COPY, then closing statements, then COMMIT. Without errors it takes three round
// trips, and two more if state is copied.
#pragma once

#include "encoder.hpp"
#include "mapping.hpp"
#include "session.hpp"
#include "sql_error.hpp"
#include "state_rows.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

// An input schema, with the plan and the encoder for its rows.
struct prepared_schema {
  const pl_schema* schema;
  copy_plan plan;
  row_encoder encoder;
};

struct portion {
  pl::batch_view batch;
  prepared_schema* how;
};

// A statement that runs in the transaction after the rows, in the given order and in one string with COMMIT. It
// prevents the commit with a division by zero; `on_check` is the reaction to that.
struct closing_statement {
  std::string sql;
  reaction on_check = reaction::retry;
};

// What a transaction writes after its rows. State is written before the last statement.
struct closing_part {
  std::span<const closing_statement> statements;
  const state_rows* state = nullptr;
};

// How a write handles rows that cannot be stored: store the other rows, or store nothing and report the rows first.
enum class rejection_policy { leave_out, stop };

struct write_failure {
  sql_error error;
  reaction what;
  bool at_commit = false;  // if the connection was lost: it is unknown whether the transaction was committed
};

class writer {
 public:
  struct rejection {
    std::uint32_t portion;
    pl::row_index row;
    std::size_t why, length;  // in reasons_
  };

  // settings: statements that each transaction begins with.
  explicit writer(std::string settings) : settings_(std::move(settings)) { set_opening({}); }

  // Set further statements for the begin of each transaction, each with a semicolon.
  void set_opening(std::string_view more, bool read_write = false) {
    opening_ = (read_write ? "BEGIN READ WRITE;" : "BEGIN;") + settings_ + std::string(more);
  }

  // Set a statement that fails if the table has changed since the plans were made. It runs in each transaction before
  // COMMIT, and before a search for bad rows.
  void set_table_check(std::string sql) { table_check_ = std::move(sql); }

  // Begin a write without waiting: send the statements before the rows. `proceed` then sends a piece of the rows at each call.
  // `write` with the same session and portions continues the write. After an error, close the session and `abandon` the write.
  [[nodiscard]] maybe_error begin_early(session& to, std::span<const portion> portions);
  [[nodiscard]] maybe_error proceed(session& to, std::span<const portion> portions);
  void abandon() noexcept { early_ = stage::none; }
  // Return what `proceed` waits for; 0: for nothing, until `write`.
  [[nodiscard]] short awaits() const noexcept;

  // Write all rows that can be written; rejected() returns the others. On failure nothing is written, and the session
  // is not in a transaction. meanwhile: done while the database commits.
  [[nodiscard]] std::optional<write_failure> write(session& to, std::span<const portion> portions,
                                                   const closing_part& closing,
                                                   rejection_policy policy = rejection_policy::leave_out,
                                                   other_work* meanwhile = nullptr);

  // Return the rejected rows of the last write, in the order of the portions.
  [[nodiscard]] std::span<const rejection> rejected() const noexcept { return rejected_; }
  [[nodiscard]] std::string_view why(const rejection& r) const noexcept {
    return std::string_view(reasons_).substr(r.why, r.length);
  }
  [[nodiscard]] std::uint64_t rows_written() const noexcept { return written_; }
  // Return how many of these rows the table did not take, by the command tags of COPY: a trigger discarded them, or moved
  // them elsewhere.
  [[nodiscard]] std::uint64_t rows_discarded() const noexcept { return discarded_; }
  [[nodiscard]] bool searched() const noexcept { return searched_; }

 private:
  struct row_ref {
    std::uint32_t portion;
    pl::row_index row;
  };
  struct attempt {  // where COPY stopped
    std::optional<write_failure> failure;
    std::size_t first_of_copy = 0;  // number of rows sent before the COPY that failed
    std::string_view landing = {};  // landing statement of the last COPY; not yet run
  };
  struct place {  // the next row to encode
    std::uint32_t portion = 0, row = 0;
    std::size_t encoded = 0, first_of_copy = 0;  // rows
    const copy_plan* copying = nullptr;
  };
  enum class stage {
    none,
    opening,
    rows,
    done
  };                  // of a write that begins early; done: up to the end of its first COPY
  struct remainder {  // statements to run after the rows
    std::string_view landing;
    bool check_table;
    closing_part closing;
  };

  [[nodiscard]] attempt write_at_once(session& to, std::span<const portion> portions);
  [[nodiscard]] std::optional<write_failure> write_searching(session& to, std::span<const portion> portions,
                                                             const closing_part& closing, const attempt& before);
  [[nodiscard]] std::optional<write_failure> search_group(session& to, std::span<const portion> portions,
                                                          std::span<const row_ref> rows, std::size_t suspect);
  [[nodiscard]] maybe_error copy_rows(session& to, std::span<const portion> portions, std::span<const row_ref> rows,
                                      std::string_view before);
  // end: COMMIT, or empty if rows follow.
  [[nodiscard]] std::optional<write_failure> finish(session& to, const remainder& what, std::string_view end,
                                                    other_work* meanwhile = nullptr);
  // Return the failure for rows that must be dead-lettered first, or another one if the table has changed, because then
  // it may take them.
  [[nodiscard]] write_failure stop_for_rejected(session& to, bool check_table);
  [[nodiscard]] std::string text_of(const remainder& what) const;
  [[nodiscard]] maybe_error send_state(session& to, const state_rows& state);
  [[nodiscard]] static write_failure classify(sql_error error, const remainder& what, bool committing);
  void reset();
  // Encode rows until there are enough to send. Return false at the end of the portion.
  [[nodiscard]] bool encode(const portion& p);
  [[nodiscard]] maybe_error send_rows(session& to, const portion& p);
  [[nodiscard]] maybe_error begin_copy(session& to, const std::string& statements);
  void begin_data();
  [[nodiscard]] maybe_error end_copy(session& to);
  void reject(std::uint32_t portion, pl::row_index row, std::string_view why);
  [[nodiscard]] std::vector<row_ref> rows_to_try(std::span<const portion> portions);

  std::string settings_, opening_, table_check_;
  byte_buffer buffer_;
  std::vector<rejection> rejected_;
  std::string reasons_;
  std::uint64_t written_ = 0, discarded_ = 0;
  std::uint64_t in_copy_ = 0;  // rows of the current COPY
  bool searched_ = false;
  place at_;
  stage early_ = stage::none;
  bool unsent_ = false;  // the socket did not take everything
};

}  // namespace timescale
