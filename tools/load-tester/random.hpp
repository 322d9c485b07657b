// SPDX-License-Identifier: Apache-2.0
// A random number generator whose sequence depends only on the seed, not on the machine.
#pragma once

#include <cstdint>

namespace pl::load {

class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) noexcept : state_(seed) {}

  // splitmix64
  std::uint64_t next() noexcept {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
  }
  // Return a number in [0, end).
  std::uint64_t below(std::uint64_t end) noexcept { return end == 0 ? 0 : next() % end; }
  // Return true with the given probability.
  bool happens(double percent) noexcept { return static_cast<double>(next() >> 11U) * 0x1.0p-53 * 100.0 < percent; }

 private:
  std::uint64_t state_;
};

}  // namespace pl::load
