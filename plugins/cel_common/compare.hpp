// SPDX-License-Identifier: Apache-2.0
// Equality and order of values, as specified: numbers of different types are compared by their exact values.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

#include <cmath>
#include <compare>
#include <cstdint>
#include <optional>

namespace pl::cel {

// Compare an integer with a double by their exact values. NaN is unordered.
[[nodiscard]] inline std::partial_ordering compare_exactly(std::int64_t i, double d) noexcept {
  constexpr double limit = 9223372036854775808.0;  // 2^63
  if (std::isnan(d)) return std::partial_ordering::unordered;
  if (d >= limit) return std::partial_ordering::less;
  if (d < -limit) return std::partial_ordering::greater;
  const auto whole = static_cast<std::int64_t>(d);
  if (i != whole) return i <=> whole;
  return 0.0 <=> d - static_cast<double>(whole);
}

// Return whether two values are equal. Values of different kinds are not, except for numbers. If the budget is exhausted,
// e.exceeded() is set and the result is meaningless.
[[nodiscard]] bool equal(evaluation& e, const value& a, const value& b);

// Return the order of two values; std::nullopt if their kinds have none.
[[nodiscard]] std::optional<std::partial_ordering> order(const value& a, const value& b) noexcept;

}  // namespace pl::cel
