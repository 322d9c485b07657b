// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/batch.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace json_telemetry {

// The rows of the batch that is being made, in the batch's own memory. Most messages are one row, arrays are many: the
// columns grow.
class row_store {
 public:
  void begin(pl::batch_builder& memory, std::uint32_t columns, std::uint32_t expected_rows) {
    memory_ = &memory;
    rows_ = 0;
    capacity_ = std::max(expected_rows, 1U);
    columns_.assign(columns, nullptr);
    for (auto& c : columns_) c = memory.allocate<pl::cell>(capacity_).data();
    source_ = memory.allocate<pl::row_index>(capacity_).data();
  }
  [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }

  // The row behind the last: cells to be written, then kept by commit. `source`: the row that it was made of.
  void prepare() {
    if (rows_ == capacity_) grow();
  }
  [[nodiscard]] pl::cell& at(std::size_t column) noexcept { return columns_[column][rows_]; }
  void commit(pl::row_index source) noexcept { source_[rows_++] = source; }
  // Takes back all rows from this one on.
  void cut(std::uint32_t rows) noexcept { rows_ = rows; }

  [[nodiscard]] std::span<const pl::cell> column(std::size_t c) const noexcept { return {columns_[c], rows_}; }
  [[nodiscard]] std::span<const pl::row_index> sources() const noexcept { return {source_, rows_}; }

 private:
  template <class T>
  T* moved(const T* from) {
    auto to = memory_->allocate<T>(capacity_);
    std::copy_n(from, rows_, to.begin());
    return to.data();
  }
  void grow() {
    capacity_ *= 2;
    for (auto& c : columns_) c = moved(c);
    source_ = moved(source_);
  }
  pl::batch_builder* memory_ = nullptr;
  std::uint32_t rows_ = 0, capacity_ = 0;
  std::vector<pl::cell*> columns_;
  pl::row_index* source_ = nullptr;
};

}  // namespace json_telemetry
