// SPDX-License-Identifier: Apache-2.0
// Cuts a group of batches into writes of bounded size. For a sink that keeps positions, a write ends between two
// records, and each part has the ranges that it covers, so that positions stay contiguous. One thread.
#pragma once

#include "engine/record_batch.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::engine {

struct write_limits {
  std::uint64_t rows, bytes;  // bytes: see record_batch::write_bytes
};

class write_cutter {
 public:
  using group = std::vector<batch_ref>;

  // keeps_positions: the parts move positions. Then a part holds whole records, and rows whose record is unknown stay
  // together with all records of their range. Otherwise a part may end after any row.
  write_cutter(group batches, bool keeps_positions, block_pool& pool);

  [[nodiscard]] static bool fits(const group& batches, const write_limits& limits);
  [[nodiscard]] bool divisible() const noexcept { return units_.size() > 1; }
  [[nodiscard]] bool done() const noexcept { return at_ == units_.size(); }
  // Return the next part: as much as the limits allow, and at least one record. It may have no batches. Nothing: out of
  // memory.
  [[nodiscard]] std::optional<group> next(const write_limits& limits);
  [[nodiscard]] std::optional<group> rest() { return next({UINT64_MAX, UINT64_MAX}); }
  [[nodiscard]] const group& batches() const noexcept { return batches_; }

 private:
  // A stream of the group. A part may end before each of `starts`, which are positions of records.
  struct stream {
    std::string_view source, name;
    std::uint64_t first, next;
    std::vector<std::uint64_t> starts;
    std::size_t first_unit = 0;
  };
  struct unit {  // what is not divided
    std::size_t stream = 0;
    std::uint64_t rows = 0, bytes = 0;
  };
  struct placed_row {
    std::size_t unit;
    std::uint32_t row;
  };
  struct part {
    std::size_t first, end;  // units
  };

  [[nodiscard]] bool inseparable() const;
  void find_streams();
  void find_starts();
  void place_rows();
  void place_single_rows();
  [[nodiscard]] std::size_t stream_of(const pl_range& r) const;
  [[nodiscard]] std::size_t unit_of(const pl_range& r, std::uint64_t position) const;
  [[nodiscard]] std::size_t unit_at(const pl_range& r) const;
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> covered(std::size_t index, part p) const;
  // False: out of memory. Null: nothing of the batch is in the part.
  [[nodiscard]] bool cut(std::size_t batch, part p, batch_ref& to);
  [[nodiscard]] bool cut_ranges(record_batch& of, part p, record_batch& to, bool& empty) const;

  group batches_;
  bool keeps_positions_, whole_ = false;  // whole_: there is only one part
  block_pool& pool_;
  std::vector<stream> streams_;
  std::vector<unit> units_;
  std::vector<std::vector<placed_row>> rows_;  // of each batch, in the order of the units
  std::size_t at_ = 0;
};

}  // namespace pl::engine
