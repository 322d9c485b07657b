// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/batch.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace json_telemetry {

// row_store holds the rows of the batch under construction, in the memory of the batch. Columns grow on demand, because
// a message with an array becomes several rows.
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

  // Make room for one row. Write its cells with at(), then keep it with commit(); `source` is its input row.
  void prepare() {
    if (rows_ == capacity_) grow();
  }
  [[nodiscard]] pl::cell& at(std::size_t column) noexcept { return columns_[column][rows_]; }
  void commit(pl::row_index source) noexcept { source_[rows_++] = source; }
  // Remove this row and all that follow.
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
