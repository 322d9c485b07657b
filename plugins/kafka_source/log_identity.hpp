// SPDX-License-Identifier: Apache-2.0
// Recognizes by the times of records that a partition's log was replaced by another one with the same name: the topic was
// deleted and created again. Within one log, the first record after a time never moves back when the time grows: what is
// appended has a higher offset, and retention only removes the beginning. If it moves back, the log is another one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace kafka {

class log_identity {
 public:
  // A record with this time (ms since 1970; negative: unknown) was read.
  void add(std::int64_t time) noexcept { newest_ = std::max(newest_, time); }

  // A check is sent while `next` is the read position. Return the time from which the first record is to be looked up.
  // It is later than all records that were read before the last check: those that were read since may be of another log.
  std::optional<std::int64_t> ask(std::int64_t next) noexcept {
    asked_next_ = next;
    asked_newest_ = newest_;
    const auto known = sure_newest_ >= 0 ? sure_newest_ : newest_;
    queried_ = known >= 0;
    if (!queried_) return std::nullopt;
    ++unanswered_;
    return known + 1;
  }
  // Return whether the last check looks up a record.
  [[nodiscard]] bool queried() const noexcept { return queried_; }

  // first_later: the offset that was found; negative: there is no such record; empty: the broker has not responded.
  [[nodiscard]] bool matches(std::optional<std::int64_t> first_later) const noexcept {
    return !first_later || *first_later < 0 || *first_later >= at_least_;
  }
  // Return whether another log can be recognized from now on, because a record that was read before the last check has a
  // time, or whether that is not possible, because records have no times or the broker does not respond.
  [[nodiscard]] bool established() const noexcept {
    return sure_newest_ >= 0 || newest_ < 0 || unanswered_ > most_attempts;
  }
  // The check has confirmed the log.
  void confirm(std::int64_t first_later) noexcept {
    at_least_ = std::max(at_least_, first_later < 0 ? asked_next_ : first_later);
    sure_newest_ = asked_newest_;
    unanswered_ = 0;
  }

 private:
  static constexpr int most_attempts = 3;

  std::int64_t newest_ = -1;                         // time of the newest record that was read
  std::int64_t asked_newest_ = -1, asked_next_ = 0;  // when the last check was sent
  std::int64_t sure_newest_ = -1;                    // as asked_newest_, of the last check that confirmed the log
  bool queried_ = false;
  int unanswered_ = 0;         // number of lookups since the last response
  std::int64_t at_least_ = 0;  // where the first record after the queried time can be
};

}  // namespace kafka
