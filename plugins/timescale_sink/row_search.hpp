// SPDX-License-Identifier: Apache-2.0
// Which rows of many does the database refuse? Found by trying pieces: bisection, sped up by the row number that an
// error of COPY may carry. Says what to try next and knows nothing of databases.
#pragma once

#include <algorithm>
#include <cstddef>

namespace timescale {

class row_search {
 public:
  struct piece {
    std::size_t first = 0, count = 0;
  };

  // suspect: the number of a row, from 1, that was named when all rows were tried together; 0: none was.
  row_search(std::size_t rows, std::size_t suspect) : rows_(rows) { suspect_in({0, rows}, suspect); }

  [[nodiscard]] bool done() const noexcept { return at_ == rows_; }
  // The rows to try now. Everything before them is settled.
  [[nodiscard]] piece next() const noexcept {
    if (at_ >= bad_before_) return {at_, std::min(reach_, rows_ - at_)};
    if (hinted_) return {at_, suspect_ > at_ ? suspect_ - at_ : 1};
    return {at_, std::max<std::size_t>((bad_before_ - at_) / 2, 1)};
  }
  // The rows of next() are written.
  void landed() noexcept {
    const auto tried = next();
    if (tried.first <= suspect_ && suspect_ < tried.first + tried.count) hinted_ = false;  // the hint was wrong
    at_ += tried.count;
    reach_ *= 2;
  }
  // They are refused. True: it is this one row's fault, and the search goes on behind it.
  [[nodiscard]] bool refused(std::size_t line) noexcept {
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
  // Grows while rows land: many bad rows must not mean sending all the others again for each of them.
  static constexpr std::size_t smallest_reach = 64;

  void suspect_in(piece tried, std::size_t line) noexcept {
    bad_before_ = tried.first + tried.count;
    hinted_ = line >= 1 && line <= tried.count;
    suspect_ = tried.first + line - (hinted_ ? 1 : 0);
  }

  std::size_t rows_, at_ = 0;
  std::size_t bad_before_ = 0;  // one of [at_, bad_before_) is bad
  std::size_t suspect_ = 0;     // probably this one, if hinted_
  bool hinted_ = false;
  std::size_t reach_ = smallest_reach;
};

}  // namespace timescale
