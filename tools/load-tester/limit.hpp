// SPDX-License-Identifier: Apache-2.0
// The search for the highest rate that is held.
#pragma once

#include "report.hpp"

#include <functional>
#include <optional>
#include <string>

namespace pl::load {

// Doubles the rate until one is not held, then halves the interval between the highest that was and the lowest that was not.
// A rate that was held has to be held once more, three times as long, before it is the answer: a queue that only just did not
// run over in ten seconds does so in thirty. If it isn't, the next lower one has to be, and so on.
class limit_search {
 public:
  explicit limit_search(double first) noexcept : next_(first) {}

  struct step {
    double rate = 0;
    bool confirms = false;  // the long one
  };
  // The next rate to try; nothing when the search has ended.
  [[nodiscard]] std::optional<step> next() const noexcept;
  void note(bool held) noexcept;
  // The highest rate that was confirmed; 0: none.
  [[nodiscard]] double found() const noexcept { return found_; }

 private:
  void note_confirmed(bool held) noexcept;

  double next_, held_ = 0, not_held_ = 0, found_ = 0;
  bool confirming_ = false, ended_ = false;
};

// Why a run does not count as held; empty if it does.
std::string why_not_held(const report& r, std::int64_t max_latency_us);

}  // namespace pl::load
