// SPDX-License-Identifier: Apache-2.0
// An outage of a node: from the first attempt that failed to the next one that succeeds. One thread; `ongoing`: any.
#pragma once

#include "telemetry/progress.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace pl::engine {

class outage {
 public:
  void attempt_failed() {
    if (failed_++ == 0) began_ = std::chrono::steady_clock::now();
    ongoing_ = true;
  }
  [[nodiscard]] bool ongoing() const noexcept { return ongoing_; }

  // End it, and return a line for operators: for how long, how many attempts, how many records wait (if known).
  std::string end(std::optional<std::uint64_t> waiting) {
    auto line = fmt::format("works {} and {} failed attempt{}", length(), telemetry::format_count(failed_),
                            failed_ == 1 ? "" : "s");
    if (waiting)
      line +=
          fmt::format("; {} record{} waiting", telemetry::format_count(*waiting), *waiting == 1 ? " was" : "s were");
    clear();
    return line;
  }
  // End an outage without attempts, and return "again after 12 s".
  std::string end_of_state() {
    auto line = length();
    clear();
    return line;
  }

 private:
  [[nodiscard]] std::string length() const {
    const auto lasted = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    return fmt::format("again after {:.{}f} s", lasted, lasted < 10 ? 1 : 0);
  }
  void clear() noexcept {
    failed_ = 0;
    ongoing_ = false;
  }

  std::uint64_t failed_ = 0;
  std::chrono::steady_clock::time_point began_{};
  std::atomic<bool> ongoing_{false};
};

}  // namespace pl::engine
