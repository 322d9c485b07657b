// SPDX-License-Identifier: Apache-2.0
// Counts and logs rejected records that cannot be stored as dead letters (when_full: discard). Any thread.
#pragma once

#include "engine/collapsed_letter.hpp"
#include "engine/instance.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace pl::engine {

class discarded_letters {
 public:
  discarded_letters(services common, std::string pipeline) : common_(common), pipeline_(std::move(pipeline)) {}
  ~discarded_letters() { report(std::chrono::seconds(0)); }
  discarded_letters(const discarded_letters&) = delete;
  discarded_letters& operator=(const discarded_letters&) = delete;

  void add(std::span<const rejection> rejected, std::string_view node);
  // Log what was added, unless the last report is more recent than this. Call it regularly.
  void report(std::chrono::nanoseconds pause = std::chrono::seconds(1));

 private:
  struct lost {
    std::uint64_t records = 0;
    position_runs positions;
    std::string reason;  // of the first one
  };
  void report_locked();

  services common_;
  const std::string pipeline_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, lost> lost_;  // by node and stream
  std::chrono::steady_clock::time_point reported_at_{};
};

}  // namespace pl::engine
