// SPDX-License-Identifier: Apache-2.0
// Registers for many rows: the numbers or booleans of one operation, and whether each of them is null or has failed.
#pragma once

#include <pipeline/batch.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace pl::cel {

// Rows that are computed together.
inline constexpr std::uint32_t lane_count = 256;
// Loops over lanes are split into blocks of a constant length, so that the compiler vectorises them. Lanes beyond the last
// row are computed, too, and ignored.
inline constexpr std::uint32_t block = 32;

enum class lane_type : std::uint8_t { real, integer, boolean };
enum lane_state : std::uint8_t { lane_ok = 0, lane_null = 1, lane_failed = 2 };

struct alignas(64) lanes {
  union {
    std::array<double, lane_count> real;
    std::array<std::int64_t, lane_count> integer{};
    std::array<std::uint8_t, lane_count> boolean;
  };
  std::array<std::uint8_t, lane_count> state{};  // of each lane; valid only if not clean
  bool clean = true;                             // every lane is ok

  // Return the states as an array.
  [[nodiscard]] const std::uint8_t* states() const noexcept { return clean ? all_ok.data() : state.data(); }
  [[nodiscard]] std::uint8_t state_of(std::uint32_t i) const noexcept { return states()[i]; }
  void set_state(std::uint32_t i, lane_state s) noexcept {
    if (clean) state.fill(lane_ok);
    clean = false;
    state[i] = s;
  }
  [[nodiscard]] bool is_true(std::uint32_t i) const noexcept { return state_of(i) == lane_ok && boolean[i] != 0; }
  [[nodiscard]] bool is_false(std::uint32_t i) const noexcept { return state_of(i) == lane_ok && boolean[i] == 0; }

  static constexpr std::array<std::uint8_t, lane_count> all_ok{};
};

// Call take(lane, state) for each of the first `count` lanes that is not ok; these are rare.
template <class Take>
void each_not_ok(const lanes& r, std::uint32_t count, Take&& take) {
  if (r.clean) return;
  for (std::uint32_t begin = 0; begin < count; begin += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, r.state.data() + begin, sizeof eight);
    if (eight == 0) continue;
    for (std::uint32_t i = begin; i < std::min(begin + 8, count); ++i)
      if (r.state[i] != lane_ok) take(i, r.state[i]);
  }
}

// The rows of one step: at most lane_count rows of a batch.
struct row_chunk {
  const row_index* indexes = nullptr;  // null: first, first + 1, ...
  row_index first = 0;
  std::uint32_t count = 0;
  [[nodiscard]] row_index operator[](std::uint32_t i) const noexcept {
    return indexes != nullptr ? indexes[i] : first + i;
  }
};

}  // namespace pl::cel
