// SPDX-License-Identifier: Apache-2.0
// For tests of what must not take long, on machines that other processes may keep busy.
#pragma once

#include <chrono>

namespace pl::telemetry::testing {

// Return whether one of ten measurements is below the limit. `measure` begins anew each time.
template <class Measure>
[[nodiscard]] bool once_within(std::chrono::nanoseconds limit, Measure&& measure) {
  for (int i = 0; i < 10; ++i)
    if (measure() < limit) return true;
  return false;
}

}  // namespace pl::telemetry::testing
