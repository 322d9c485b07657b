// SPDX-License-Identifier: Apache-2.0
// A row that an output of a pipeline received in a test, and its comparison with an expected row.
#pragma once

#include "engine/stored_row.hpp"
#include "host/cases/test_case.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/component.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::host {

class captured_row {
 public:
  explicit captured_row(engine::stored_row columns);
  captured_row(captured_row&&) noexcept = default;
  captured_row& operator=(captured_row&&) noexcept = default;

  [[nodiscard]] const engine::stored_column* find(std::string_view column) const;
  [[nodiscard]] const engine::stored_row& columns() const noexcept { return columns_; }
  // Return the cell of a column; null if the row does not have it.
  [[nodiscard]] cell value(std::string_view column) const;
  // Return the value of a column as JSON; "null" if the row does not have it.
  [[nodiscard]] std::string json(std::string_view column) const;
  // Return the row as one JSON object, without columns that are null.
  [[nodiscard]] std::string json() const;

 private:
  engine::stored_row columns_;
};

// The rows that a capture_sink wrote to a file; none if there is no such file.
[[nodiscard]] std::vector<captured_row> read_captured(const std::filesystem::path& file);

// The outcome of a condition for one row. why: the reason, if the evaluation failed.
struct condition_result {
  bool holds = false;
  std::string why;
};
[[nodiscard]] condition_result evaluate(const condition& c, const captured_row& row);

struct difference {
  std::string column;  // empty: the condition
  std::string expected, actual;
};
// Return how the row differs from what is expected; empty: not at all.
[[nodiscard]] std::vector<difference> compare(const expected_row& expected, const captured_row& row);

// Return the expected row as text for people.
[[nodiscard]] std::string shown(const expected_row& expected);

}  // namespace pl::host
