// SPDX-License-Identifier: Apache-2.0
// A dead letter that stands for several records, which were rejected for the same reason and whose originals are not
// stored. Its column `record` has a JSON object with their number and their positions:
//
//   {"$collapsed":{"records":312,"positions":"1000-1309,1311,1313"}}
//
// Pure functions; they depend on the SDK alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl::engine {

struct collapsed_records {
  std::uint64_t records = 0;
  std::string positions;  // ascending, as numbers and ranges with both ends; empty: the records have no positions
};

// Writes the positions of records in ascending order.
class position_runs {
 public:
  void add(std::uint64_t position);
  [[nodiscard]] std::size_t runs() const noexcept { return runs_; }
  [[nodiscard]] std::string text() const;

 private:
  void end_run(std::string& to) const;

  std::string ended_;
  std::uint64_t first_ = 0, last_ = 0;
  std::size_t runs_ = 0;
};

// Return whether a position is one of these.
[[nodiscard]] bool includes(const collapsed_records& of, std::uint64_t position) noexcept;

[[nodiscard]] std::string collapsed_record(const collapsed_records& of);
// Return nothing if the column's value is not of a collapsed dead letter.
[[nodiscard]] std::optional<collapsed_records> parse_collapsed(std::string_view record);

}  // namespace pl::engine
