// SPDX-License-Identifier: Apache-2.0
// Counts latencies in classes whose width is less than 1 % of the value (as HdrHistogram does).
#pragma once

#include <array>
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
  // Return how many values are less than `us`. Up to 0.8 % below `us`, they may not be counted.
  [[nodiscard]] std::uint64_t count_below(std::int64_t us) const;

 private:
  std::vector<std::uint64_t> classes_;
  std::uint64_t count_ = 0;
  std::int64_t max_ = 0;
};

constexpr std::array<std::int64_t, 16> latency_bounds_ms{1,  2,  5,  10,  15,  20,  25,  30,
                                                         40, 50, 75, 100, 150, 200, 500, 1000};
struct latency {
  std::uint64_t count = 0;
  std::int64_t p50 = 0, p95 = 0, p99 = 0, max = 0;              // microseconds
  std::array<std::uint64_t, latency_bounds_ms.size()> below{};  // values less than each of latency_bounds_ms
};
[[nodiscard]] latency summary(const histogram& of);

}  // namespace pl::load
