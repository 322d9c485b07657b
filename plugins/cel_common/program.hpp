// SPDX-License-Identifier: Apache-2.0
// Expressions for plugins: compile a text once, then evaluate it for the rows of batches.
//
//   auto compiled = pl::cel::compile(options.where, columns, {.want = pl::cel::purpose::condition});
//   if (!compiled.ok()) return pl::bad_option("where" + compiled.why().option, compiled.why().message);
//   pl::cel::evaluator where(std::move(compiled).value());
//   ...
//   where.select(in, matched);   // in apply(): the rows for which the condition is true
//
// The language, its functions and its limits: docs/expressions.md.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/component.hpp>
#include <pipeline/result.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::cel {

struct plan;

enum class purpose : std::uint8_t {
  any,        // the result may be of any type
  condition,  // the result must be a bool
  cells       // the result must fit into a cell: not a duration
};

struct settings {
  purpose want = purpose::any;
  // Do not check names and types: mistakes become errors of the evaluation. For tests of the language.
  bool unchecked = false;
};

// Something in an expression that works but is probably not intended.
struct note {
  std::string message;
  std::size_t begin = 0, end = 0;  // bytes of the expression
};

// A compiled expression. Cheap to copy; several evaluators on several threads may share it.
class program {
 public:
  explicit program(std::shared_ptr<const plan> compiled) noexcept : plan_(std::move(compiled)) {}

  [[nodiscard]] std::string_view text() const noexcept;
  // Return the kind of the cells that the expression computes (PL_F64, ...); PL_NULL: known only at run time.
  [[nodiscard]] std::uint32_t kind() const noexcept;
  // Return the columns that the expression reads. `row` as a whole may read others.
  [[nodiscard]] std::vector<std::string_view> columns() const;
  [[nodiscard]] std::vector<note> notes() const;

  [[nodiscard]] const plan& compiled() const noexcept { return *plan_; }

 private:
  std::shared_ptr<const plan> plan_;
};

// Compile an expression for rows with these columns. A null schema: the columns are not known; then every name is a column
// of any kind. The failure's message does not contain the place; its option is the place as a suffix of an option's
// path, "@12" for the byte at offset 12 of the expression, so that the host can report file, line and column.
[[nodiscard]] result<program> compile(std::string_view text, const column_set& columns, const settings& how = {});

// Return the offset in a failure of `compile`.
[[nodiscard]] std::size_t offset_of(const failure& why) noexcept;

// Evaluates one expression for rows of batches. Owns scratch memory, which it uses again: conditions and numbers need no
// allocation for a row. One thread at a time. The batch needs to live only during a call.
//
// An evaluation that fails (a null operand, division by zero, ...) makes a row fail, not the call. `failed`, if it is not
// null, gets the indexes of these rows appended; explain() returns the reason.
class evaluator {
 public:
  explicit evaluator(program p);
  evaluator(evaluator&&) noexcept;
  evaluator& operator=(evaluator&&) noexcept;
  ~evaluator();

  // For a condition: append to `matched` the rows, in their order, for which it is true. A row that fails does not match.
  // Return the number of rows that failed.
  std::size_t select(batch_view in, std::vector<row_index>& matched, std::vector<row_index>* failed = nullptr);
  // Likewise for some rows of the batch only, in ascending order, such as those that earlier conditions did not select.
  std::size_t select(batch_view in, std::span<const row_index> rows, std::vector<row_index>& matched,
                     std::vector<row_index>* failed = nullptr);
  // For a condition: whether it is true for one row. false as well if the evaluation fails, and then *failed is set.
  bool matches(batch_view in, row_index row, bool* failed = nullptr);

  // Compute a cell for each selected row: to[row], in memory of `owner`, which is the batch that `to` belongs to. The
  // other cells of `to` are not changed. A row that fails gets null. Return the number of rows that failed. A result that
  // does not fit into a cell is a failure: an infinite number, NaN, a time outside of the years 1677 to 2262, a duration.
  std::size_t fill(batch_view in, batch_builder& owner, std::span<cell> to, std::vector<row_index>* failed = nullptr);

  // Return why the evaluation fails for a row, such as "division by zero, at column 14"; empty if it does not fail.
  [[nodiscard]] std::string explain(batch_view in, row_index row);

  enum class notation : std::uint8_t {
    json,  // one JSON value: NaN, infinities, times and durations as strings, bytes as a string of Latin-1 characters
    text   // for people: a string without quotes, times and durations as they are written in an expression
  };
  // Return the result for a row as text, or the reason why the evaluation fails.
  [[nodiscard]] result<std::string> print(batch_view in, row_index row, notation how);

  [[nodiscard]] const program& compiled() const noexcept;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace pl::cel
