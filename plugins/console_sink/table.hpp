// SPDX-License-Identifier: Apache-2.0
// table formats rows as text with aligned columns.
#pragma once

#include <pipeline/batch.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace console {

// Return the text with control characters escaped, truncated to `width` characters.
std::string printable(std::string_view text, std::size_t width);

class table {
 public:
  table(bool color, std::size_t max_width) : color_(color), max_width_(max_width) {}

  // Append the batch's selected rows, with a heading whenever the columns change. The width of a column follows from
  // its name and from the values so far.
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
