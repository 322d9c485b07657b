// SPDX-License-Identifier: Apache-2.0
// The columns of a batch that its source makes on demand ("on_demand/1").
// Threads: the lane adds columns and makes those that are used, before it passes the batch on. Any thread makes single
// cells afterwards, for dead letters.
#pragma once

#include "engine/column_demand.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <functional>
#include <mutex>
#include <vector>

namespace pl::engine {

class record_batch;

class late_columns {
 public:
  struct entry {
    column_index at;
    void* mem;  // of the source
    pl_make_cell make;
  };

  void add(const entry& c) { columns_.push_back(c); }
  // Make the columns that are used. They are then columns like all others. A failure is permanent.
  [[nodiscard]] result<void> make_used(record_batch& of, const column_demand& used);

  // Return whether a column is still to be made.
  [[nodiscard]] bool has(column_index column) const noexcept;
  // Make one cell of a column that is still to be made, and pass it to `take`, which must copy its bytes. No call if the
  // cell is null, or not valid. Throws std::bad_alloc.
  void make(const record_batch& of, column_index column, row_index row, const std::function<void(const cell&)>& take);

 private:
  std::mutex mutex_;  // a source makes one cell at a time
  std::vector<entry> columns_;
};

}  // namespace pl::engine
