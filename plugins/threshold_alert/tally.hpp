// SPDX-License-Identifier: Apache-2.0
// Counts of records and values that were not evaluated, since the counts were last taken.
#pragma once

#include <cstdint>

namespace threshold_alert {

struct tally {
  std::uint64_t late = 0, ahead = 0, no_time = 0, no_key = 0, no_room = 0;  // records
  std::uint64_t null_values = 0, unfit_values = 0, repeated_times = 0, copies = 0, no_limits = 0, failed_conditions = 0;
};

}  // namespace threshold_alert
