// SPDX-License-Identifier: Apache-2.0
// Messages about a topic that was deleted and created again while it was read.
#pragma once

#include "offset_lookup.hpp"
#include "partition.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace kafka {

constexpr std::string_view advice_after_deletion =
    ". Reset the group's offset with Kafka's tools to where the new topic is to be read from, or set on_out_of_range "
    "to "
    "earliest or latest";

// log_differs: an unclean leader election looks the same.
// next: the position up to which the deleted topic was read; unknown_offset: by another member.
[[nodiscard]] inline std::string created_again_text(const std::string& stream, const watermarks& ends,
                                                    std::int64_t next, bool log_differs = false) {
  return stream + ": the topic was deleted and created again" + (log_differs ? ", or its end was truncated," : "") +
         " while it was read" +
         (next == unknown_offset ? std::string{} : " (the next position was " + std::to_string(next) + ")") +
         "; the new partition begins at " + std::to_string(ends.low) + " and ends at " + std::to_string(ends.high);
}

[[nodiscard]] inline std::string continued_text(std::int64_t at, const watermarks& ends) {
  const auto skipped = at - ends.low;
  return "; it is read as a new stream from " + std::to_string(at) +
         (skipped > 0 ? ", which skips " + std::to_string(skipped) + " records (option on_out_of_range)"
                      : std::string{});
}

// Records of the deleted topic that were not read, as far as its end was known.
[[nodiscard]] inline std::int64_t unread_of(const partition& p) {
  return p.known_end == unknown_offset ? 0 : std::max<std::int64_t>(p.known_end - p.deleted_at, 0);
}

}  // namespace kafka
