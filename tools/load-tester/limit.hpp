// SPDX-License-Identifier: Apache-2.0
// The search for the highest sustained rate.
#pragma once

#include "report.hpp"

#include <functional>
#include <optional>
#include <string>

namespace pl::load {

// Doubles the rate until it is not sustained, then bisects between the highest sustained and the lowest failed rate.
// The result must also pass a trial of three times the duration, because a queue may overflow only after a longer time.
// If the rate fails that trial, the search confirms the next lower one, and so on.
class limit_search {
 public:
  explicit limit_search(double first) noexcept : next_(first) {}

  struct step {
    double rate = 0;
    bool confirms = false;  // whether this is the trial of three times the duration
  };
  // Return the next trial; std::nullopt when the search has ended.
  [[nodiscard]] std::optional<step> next() const noexcept;
  void note(bool sustained) noexcept;
  // Return the highest confirmed rate; 0: none.
  [[nodiscard]] double found() const noexcept { return found_; }

 private:
  void note_confirmed(bool sustained) noexcept;

  double next_, sustained_ = 0, not_sustained_ = 0, found_ = 0;
  bool confirming_ = false, ended_ = false;
};

// Return why the rate of a run does not count as sustained; empty if it does.
std::string why_not_sustained(const report& r, std::int64_t max_latency_us);

}  // namespace pl::load
