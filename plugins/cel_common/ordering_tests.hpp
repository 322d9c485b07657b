// SPDX-License-Identifier: Apache-2.0
// The comparison operators as function objects on the order of two values. NaN is unordered: different, and nothing else.
#pragma once

#include <compare>

namespace pl::cel {

struct ordered_equal {
  bool operator()(std::partial_ordering o) const noexcept { return o == std::partial_ordering::equivalent; }
};
struct ordered_different {
  bool operator()(std::partial_ordering o) const noexcept { return o != std::partial_ordering::equivalent; }
};
struct ordered_less {
  bool operator()(std::partial_ordering o) const noexcept { return o < 0; }
};
struct ordered_less_equal {
  bool operator()(std::partial_ordering o) const noexcept { return o <= 0; }
};
struct ordered_greater {
  bool operator()(std::partial_ordering o) const noexcept { return o > 0; }
};
struct ordered_greater_equal {
  bool operator()(std::partial_ordering o) const noexcept { return o >= 0; }
};

}  // namespace pl::cel
