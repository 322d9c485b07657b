// SPDX-License-Identifier: Apache-2.0
// Time zones: fixed offsets (+02:00) and names (Europe/Berlin) of the system's time zone database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace date {
class time_zone;
}

namespace pl::cel {

// Return whether the text is a fixed offset, or a name that the time zone database of this machine has.
[[nodiscard]] bool is_zone(std::string_view zone);

// Finds offsets, and keeps the zone and the period that were used last. One thread at a time.
class zone_cache {
 public:
  // Return the seconds east of UTC at a time (seconds since 1970); std::nullopt if the zone is not known.
  [[nodiscard]] std::optional<std::int64_t> offset(std::string_view zone, std::int64_t seconds);

 private:
  std::string name_;
  const date::time_zone* zone_ = nullptr;
  std::int64_t begin_ = 0, end_ = 0, offset_ = 0;  // the offset is valid in [begin_, end_)
};

}  // namespace pl::cel
