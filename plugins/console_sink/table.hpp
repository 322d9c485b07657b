// SPDX-License-Identifier: Apache-2.0
// Rows as text for people: columns one under the other.
#pragma once

#include <pipeline/batch.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace console {

// A value without anything that a terminal would act on, and at most `width` characters wide.
std::string printable(std::string_view text, std::size_t width);

class table {
 public:
  table(bool color, std::size_t max_width) : color_(color), max_width_(max_width) {}

  // Appends the batch's selected rows, with a heading whenever the columns are others than before. Columns in which the
  // first batch has nothing are as wide as their names.
  void append(std::string& out, pl::batch_view b);

 private:
  void begin(std::string& out, pl::batch_view b);
  void append_row(std::string& out, pl::batch_view b, pl::row_index row);
  [[nodiscard]] std::string text_of(const pl::cell& c) const;

  const bool color_;
  const std::size_t max_width_;
  const pl_schema* schema_ = nullptr;
  std::vector<std::size_t> widths_;
};

}  // namespace console
