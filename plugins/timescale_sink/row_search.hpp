// SPDX-License-Identifier: Apache-2.0
// Finds the rows that the database rejects, by bisection. The row number that an error of COPY may contain speeds up
// the search. This class only decides which rows to try next; it does not depend on a database.
#pragma once

#include <algorithm>
#include <cstddef>

namespace timescale {

class row_search {
 public:
  struct piece {
    std::size_t first = 0, count = 0;
  };

  // suspect: the row number, from 1, in the error of the attempt with all rows; 0: the error had none.
  row_search(std::size_t rows, std::size_t suspect) : rows_(rows) { suspect_in({0, rows}, suspect); }

  [[nodiscard]] bool done() const noexcept { return at_ == rows_; }
  // Return the rows to try next. The outcome of all rows before them is known.
  [[nodiscard]] piece next() const noexcept {
    if (at_ >= bad_before_) return {at_, std::min(reach_, rows_ - at_)};
    if (hinted_) return {at_, suspect_ > at_ ? suspect_ - at_ : 1};
    return {at_, std::max<std::size_t>((bad_before_ - at_) / 2, 1)};
  }
  // Report that the rows of next() were written.
  void accepted() noexcept {
    const auto tried = next();
    if (tried.first <= suspect_ && suspect_ < tried.first + tried.count) hinted_ = false;  // the hint was wrong
    at_ += tried.count;
    reach_ *= 2;
  }
  // Report that the rows of next() were rejected. Return true if this was a single row; the search continues after it.
  [[nodiscard]] bool rejected(std::size_t line) noexcept {
    const auto tried = next();
    if (tried.count > 1) {
      suspect_in(tried, line);
      return false;
    }
    ++at_;
    bad_before_ = at_;
    reach_ = smallest_reach;
    return true;
  }

 private:
  // The size of a piece grows while rows are written, so that each bad row causes only few rows to be sent again.
  static constexpr std::size_t smallest_reach = 64;

  void suspect_in(piece tried, std::size_t line) noexcept {
    bad_before_ = tried.first + tried.count;
    hinted_ = line >= 1 && line <= tried.count;
    suspect_ = tried.first + line - (hinted_ ? 1 : 0);
  }

  std::size_t rows_, at_ = 0;
  std::size_t bad_before_ = 0;  // at least one row of [at_, bad_before_) is bad
  std::size_t suspect_ = 0;     // if hinted_: the row that is probably bad
  bool hinted_ = false;
  std::size_t reach_ = smallest_reach;
};

}  // namespace timescale
