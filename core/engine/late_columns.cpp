// SPDX-License-Identifier: Apache-2.0
#include "engine/late_columns.hpp"

#include "engine/batch_rules.hpp"
#include "engine/record_batch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace pl::engine {

namespace {

// Receives the cell that a source makes. The source may be C code, so no exception may leave `put`.
struct receiver {
  const std::function<void(const cell&)>& take;
  std::string_view column;
  row_index row;
  std::string rule = {};  // that the cell violates
  bool out_of_memory = false;
};

void put(void* to, pl_cell made) noexcept {
  auto& r = *static_cast<receiver*>(to);
  try {
    r.rule = rule_of_cell(made, r.column, r.row);
    if (r.rule.empty()) r.take(made);
  } catch (const std::exception&) {
    r.out_of_memory = true;
  }
}

// Return the rule that the cell violates, which is then not taken; empty: none.
std::string make_cell(const late_columns::entry& c, std::string_view name, row_index row,
                      const std::function<void(const cell&)>& take) {
  receiver to{take, name, row};
  if (c.make(c.mem, row, &to, put) != PL_OK || to.out_of_memory) throw std::bad_alloc();
  return std::move(to.rule);
}

// Make all cells of a column, in memory of the batch that nobody else has seen yet.
std::string make_column(record_batch& of, const late_columns::entry& c) {
  auto* cells = const_cast<cell*>(of.cols[c.at]);  // null so far
  for (const auto row : of.view().selection()) {
    auto rule = make_cell(c, view(of.schema->names[c.at]), row, [&](const cell& made) {
      cells[row] = made;
      if (!has_bytes(made) || made.len == 0) return;
      auto* bytes = static_cast<char*>(of.alloc(made.len, 1));
      if (bytes == nullptr) throw std::bad_alloc();
      std::memcpy(bytes, made.as.p, made.len);
      cells[row].as.p = bytes;
    });
    if (!rule.empty()) return rule;
  }
  return {};
}

}  // namespace

result<void> late_columns::make_used(record_batch& of, const column_demand& used) {
  try {
    for (std::size_t i = 0; i < columns_.size();) {
      if (!used.has(view(of.schema->names[columns_[i].at]))) {
        ++i;
        continue;
      }
      if (auto rule = make_column(of, columns_[i]); !rule.empty())
        return fatal("the source violates the plugin interface when it makes a column on demand: " + rule);
      columns_.erase(columns_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return {};
  } catch (const std::bad_alloc&) {
    return fatal("out of memory");
  }
}

bool late_columns::has(column_index column) const noexcept {
  return std::ranges::any_of(columns_, [&](const auto& c) { return c.at == column; });
}

void late_columns::make(const record_batch& of, column_index column, row_index row,
                        const std::function<void(const cell&)>& take) {
  const auto c = std::ranges::find(columns_, column, &entry::at);
  if (c == columns_.end()) return;
  const std::scoped_lock lock(mutex_);
  (void)make_cell(*c, view(of.schema->names[column]), row, take);
}

}  // namespace pl::engine
