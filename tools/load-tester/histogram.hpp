// SPDX-License-Identifier: Apache-2.0
// Counts latencies in classes whose width is less than 1 % of the value (as HdrHistogram does).
#pragma once

#include <cstdint>
#include <vector>

namespace pl::load {

// A histogram of microseconds. Not thread-safe.
class histogram {
 public:
  // Add a value. Negative values, which differences between clocks of two machines can cause, count as zero.
  void add(std::int64_t us);
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::int64_t max() const noexcept { return max_; }
  // Return the smallest value that is not exceeded by `percent` of all values, at most 0.8 % too large; 0 if empty.
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
