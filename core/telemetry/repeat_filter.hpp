// SPDX-License-Identifier: Apache-2.0
//
// Prevents a failing component from flooding the log (log_options has the limits). Internal to telemetry. Not
// thread-safe: the logger holds its lock. The caller passes the time.
#pragma once

#include "telemetry/log.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pl::telemetry {

struct log_message {
  log_level level = log_level::info;
  std::string_view pipeline, node, text;
  bool unlimited = false;  // never suppressed or dropped
};

class repeat_filter {
 public:
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t max_remembered = 256;  // messages, and nodes

  struct note {  // logged in place of suppressed messages
    log_level level = log_level::info;
    std::string pipeline, node, text;
  };

  explicit repeat_filter(const log_options& limits);

  bool admit(const log_message& message, clock::time_point now);  // returns whether to log it now
  bool anything_due(clock::time_point now) const noexcept { return now >= next_due_; }
  std::vector<note> due(clock::time_point now);  // returns the notes whose pause is over
  std::vector<note> rest();                      // returns all notes, at the end

 private:
  struct repeated {
    note first;
    std::uint64_t count = 0;
    std::chrono::milliseconds pause{0};
    clock::time_point until;
  };
  struct budget {
    note source;  // text unused
    double tokens = 0;
    clock::time_point filled;
    std::uint64_t dropped = 0;
    clock::time_point until;
  };

  bool over_budget(const log_message& message, clock::time_point now);
  void remember(std::string key, const log_message& message, clock::time_point now);
  void wake_at(clock::time_point when) noexcept;
  void collect_repeats(std::vector<note>& notes, clock::time_point now);
  void collect_drops(std::vector<note>& notes, clock::time_point now);

  std::chrono::milliseconds pause_;
  double burst_, rate_;
  std::unordered_map<std::string, repeated> seen_;
  std::unordered_map<std::string, budget> budgets_;
  std::vector<note> evicted_;  // notes of messages evicted from `seen_`
  clock::time_point next_due_ = clock::time_point::max();
};

}  // namespace pl::telemetry
