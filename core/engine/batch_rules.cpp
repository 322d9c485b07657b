// SPDX-License-Identifier: Apache-2.0
#include "engine/batch_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace pl::engine {

namespace {

// -------------------------------------------------------------------------------------------------------- cells ---
// The checks of cells run for each cell that a plugin makes. They find out for a whole column whether a cell may be
// invalid, with a few instructions for each, and only then look for the cell.

// Two values of neighbouring cells in one register (an extension of GCC and clang).
using two_floats [[gnu::vector_size(16)]] = double;
using two_addresses [[gnu::vector_size(16)]] = std::uint64_t;

// The kinds of all cells, combined by OR.
std::uint32_t kinds_of(const pl_cell* cells, std::uint32_t rows) noexcept {
  std::uint32_t all = 0, row = 0;
  for (; row + 8 <= rows; row += 8) {
    const auto* c = cells + row;
    all |= c[0].kind | c[1].kind | c[2].kind | c[3].kind | c[4].kind | c[5].kind | c[6].kind | c[7].kind;
  }
  for (; row < rows; ++row) all |= cells[row].kind;
  return all;
}

// Return whether a cell may be a float that is not finite: its product with 0 is then not a number, and so is the sum.
bool may_hold_infinity(const pl_cell* cells, std::uint32_t rows) noexcept {
  const two_floats zero{0, 0};
  two_floats sum{0, 0}, more{0, 0};
  std::uint32_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    const auto* c = cells + row;
    sum += two_floats{c[0].as.f, c[1].as.f} * zero;
    more += two_floats{c[2].as.f, c[3].as.f} * zero;
    sum += two_floats{c[4].as.f, c[5].as.f} * zero;
    more += two_floats{c[6].as.f, c[7].as.f} * zero;
  }
  for (; row < rows; ++row) sum[0] += cells[row].as.f * 0;
  sum += more;
  return !std::isfinite(sum[0] + sum[1]);
}

// Return whether a cell may have bytes at NULL: the address before it has the highest bit set, unlike all others.
bool may_hold_null_text(const pl_cell* cells, std::uint32_t rows) noexcept {
  const auto address = [](const pl_cell& c) { return static_cast<std::uint64_t>(c.as.i); };
  const two_addresses one{1, 1};
  two_addresses all{0, 0};
  std::uint32_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    const auto* c = cells + row;
    all |= two_addresses{address(c[0]), address(c[1])} - one;
    all |= two_addresses{address(c[2]), address(c[3])} - one;
    all |= two_addresses{address(c[4]), address(c[5])} - one;
    all |= two_addresses{address(c[6]), address(c[7])} - one;
  }
  for (; row < rows; ++row) all[0] |= address(cells[row]) - 1;
  return ((all[0] | all[1]) >> 63U) != 0;
}

}  // namespace

std::string rule_of_cell(const pl_cell& c, std::string_view column, row_index row) {
  if (c.kind > PL_JSON)
    return fmt::format("the cell in row {} of column '{}' has the kind {}, which does not exist", row, column, c.kind);
  if (c.kind == PL_F64 && !std::isfinite(c.as.f))
    return fmt::format("the float in row {} of column '{}' is not a finite number ({})", row, column, c.as.f);
  if (has_bytes(c) && c.as.p == nullptr && c.len != 0)
    return fmt::format("the {} in row {} of column '{}' has {} bytes at NULL", kind_name(c.kind), row, column, c.len);
  return {};
}

namespace {

std::string rule_of_cells(const record_batch& b, column_index column) {
  const auto* cells = b.cols[column];
  const auto kinds = kinds_of(cells, b.rows);
  constexpr std::uint32_t floats = PL_F64;
  const bool suspicious = kinds > PL_JSON || ((kinds & floats) == floats && may_hold_infinity(cells, b.rows)) ||
                          (kinds > PL_TIME_NS && may_hold_null_text(cells, b.rows));
  if (!suspicious) return {};
  for (std::uint32_t i = 0; i < b.nsel; ++i) {
    const auto row = b.sel != nullptr ? b.sel[i] : i;
    if (auto rule = rule_of_cell(cells[row], view(b.schema->names[column]), row); !rule.empty()) return rule;
  }
  return {};
}

// Return whether a column is from a batch that was checked. Its rows are at most as many as that batch has.
bool is_checked_column(const record_batch& b, const pl_cell* cells) noexcept {
  for (const auto* from = b.parent(); from != nullptr; from = from->parent()) {
    if (!from->checked() || b.rows > from->rows_made()) continue;
    const std::span columns(from->cols, from->schema->ncols);
    if (std::ranges::find(columns, cells) != columns.end()) return true;
  }
  return false;
}

std::string rule_of_columns(const record_batch& b) {
  if (b.rows == 0) return {};
  for (column_index c = 0; c < b.schema->ncols; ++c) {
    const auto name = view(b.schema->names[c]);
    if (b.cols[c] == nullptr) return fmt::format("column '{}' has no cells: cols[{}] is NULL", name, c);
    if (is_checked_column(b, b.cols[c])) continue;
    if (!b.contains(b.cols[c], std::size_t{b.rows} * sizeof(pl_cell)))
      return fmt::format("the {} cells of column '{}' are not in memory of the batch (pl_host.alloc) or of its parent",
                         b.rows, name);
    if (auto rule = rule_of_cells(b, c); !rule.empty()) return rule;
  }
  return {};
}

// --------------------------------------------------------------------------------------------------------- rows ---

// Return the rule for an array with one element for each row, or for each of `n` rows.
template <class T>
std::string rule_of_array(const record_batch& b, const T* array, std::uint32_t n, std::string_view name) {
  if (array == nullptr || n == 0 || b.contains(array, std::size_t{n} * sizeof(T))) return {};
  return fmt::format("the {} elements of {} are not in memory of the batch (pl_host.alloc) or of its parent", n, name);
}

std::string rule_of_selection(const record_batch& b) {
  if (b.sel == nullptr)
    return b.nsel == b.rows ? std::string()
                            : fmt::format("nsel is {} and rows is {}: they are equal if sel is NULL", b.nsel, b.rows);
  if (b.nsel > b.rows) return fmt::format("nsel is {}, and the batch has {} rows", b.nsel, b.rows);
  if (auto rule = rule_of_array(b, b.sel, b.nsel, "sel"); !rule.empty()) return rule;
  for (std::uint32_t i = 1; i < b.nsel; ++i)
    if (b.sel[i] <= b.sel[i - 1])
      return fmt::format("sel is not ascending: sel[{}] is {}, after {}", i, b.sel[i], b.sel[i - 1]);
  if (b.nsel != 0 && b.sel[b.nsel - 1] >= b.rows)
    return fmt::format("sel[{}] is {}, and the batch has {} rows", b.nsel - 1, b.sel[b.nsel - 1], b.rows);
  return {};
}

std::string rule_of_ranges(const record_batch& b) {
  if (b.nranges == 0) return {};
  if (b.ranges == nullptr) return fmt::format("ranges is NULL, and nranges is {}", b.nranges);
  const auto* parent = b.parent();
  if (parent != nullptr && b.ranges == parent->ranges && b.nranges == parent->nranges) return {};
  if (auto rule = rule_of_array(b, b.ranges, b.nranges, "ranges"); !rule.empty()) return rule;
  for (std::uint32_t i = 0; i < b.nranges; ++i) {
    const auto& r = b.ranges[i];
    if (r.stream.p == nullptr || r.stream.n == 0) return fmt::format("ranges[{}] names no stream", i);
    if (r.first > r.next)
      return fmt::format("ranges[{}] of stream '{}' begins at {} and ends at {}", i, view(r.stream), r.first, r.next);
  }
  return {};
}

std::string rule_of_origins(const record_batch& b) {
  if (b.origin == nullptr || (b.parent() != nullptr && b.origin == b.parent()->origin && b.rows <= b.parent()->rows &&
                              b.nranges == b.parent()->nranges))
    return {};
  if (auto rule = rule_of_array(b, b.origin, b.rows, "origin"); !rule.empty()) return rule;
  const auto* end = b.origin + b.rows;
  const auto* highest = std::max_element(b.origin, end);
  if (highest == end || *highest < b.nranges) return {};
  return fmt::format("origin[{}] is {}, and nranges is {}", highest - b.origin, *highest, b.nranges);
}

// Return whether all rows of a batch with one range are in it.
bool are_in_range(const std::uint64_t* pos, std::uint32_t rows, const pl_range& range) noexcept {
  std::uint64_t highest = 0;  // relative to the begin of the range; below the begin: a huge number
  std::uint32_t row = 0;
  for (; row + 4 <= rows; row += 4)
    for (std::uint32_t i = row; i < row + 4; ++i) highest = std::max(highest, pos[i] - range.first);
  for (; row < rows; ++row) highest = std::max(highest, pos[row] - range.first);
  return rows == 0 || highest < range.next - range.first;
}

// Return whether the rows of a source are in the ranges that it states to have read.
std::string rule_of_positions(const record_batch& b) {
  if (b.pos == nullptr || (b.nranges == 1 && are_in_range(b.pos, b.rows, b.ranges[0]))) return {};
  for (std::uint32_t row = 0; row < b.rows; ++row) {
    const auto& r = b.ranges[b.origin != nullptr ? b.origin[row] : 0];
    if (b.pos[row] - r.first >= r.next - r.first)  // unsigned: also below `first`
      return fmt::format("row {} has position {} of stream '{}', outside of its range from {} to {}", row, b.pos[row],
                         view(r.stream), r.first, r.next);
  }
  return {};
}

std::string rule_of_tables(const record_batch& b) {
  if (!b.keeps_its_tables()) return "it replaced size, schema or cols of a batch; set the elements of cols instead";
  if (b.rows > b.rows_made()) return fmt::format("rows is {}, and the batch was made for {}", b.rows, b.rows_made());
  if (b.nstate_changes != 0) return "it set state_changes, which only the host sets; use \"state/1\"";
  return {};
}

}  // namespace

std::string violated_rule(record_batch& b, batch_from from) {
  if (b.checked()) return {};  // the input of a transform, emitted unchanged
  using check = std::string (*)(const record_batch&);
  for (const check c : {rule_of_tables, rule_of_selection, rule_of_ranges})
    if (auto rule = c(b); !rule.empty()) return rule;
  if (from == batch_from::source && b.nranges == 0 && b.rows != 0)
    return fmt::format("it read {} rows without a range", b.rows);
  for (const check c : {rule_of_origins, rule_of_columns})
    if (auto rule = c(b); !rule.empty()) return rule;
  for (auto rule : {rule_of_array(b, b.pos, b.rows, "pos"), rule_of_array(b, b.arrival, b.rows, "arrival")})
    if (!rule.empty()) return rule;
  if (from == batch_from::source)
    if (auto rule = rule_of_positions(b); !rule.empty()) return rule;
  b.set_checked();
  return {};
}

std::string rule_of_later(const record_batch& b, column_index column, pl_make_cell make) {
  if (make == nullptr) return "it called later with a function that is NULL";
  if (column >= b.schema->ncols) return fmt::format("it called later for column {}, which does not exist", column);
  if (b.cols[column] != nullptr) return fmt::format("it called later for column {}, which it has set", column);
  return {};
}

}  // namespace pl::engine
