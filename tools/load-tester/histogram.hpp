// SPDX-License-Identifier: Apache-2.0
// Latencies, counted in classes that are narrow where values are small and less than 1 % wide everywhere (as HdrHistogram does).
#pragma once

#include <cstdint>
#include <vector>

namespace pl::load {

// Of microseconds. One thread at a time.
class histogram {
 public:
  // Less than zero counts as zero: clocks of two machines are never quite the same.
  void add(std::int64_t us);
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::int64_t max() const noexcept { return max_; }
  // The smallest value that `percent` of all don't exceed, at most 0.8 % too large; 0 when nothing was counted.
  [[nodiscard]] std::int64_t percentile(double percent) const;

 private:
  std::vector<std::uint64_t> classes_;
  std::uint64_t count_ = 0;
  std::int64_t max_ = 0;
};

struct latency {
  std::uint64_t count = 0;
  std::int64_t p50 = 0, p95 = 0, p99 = 0, max = 0;  // microseconds
};
[[nodiscard]] latency summary(const histogram& of);

}  // namespace pl::load
