// SPDX-License-Identifier: Apache-2.0
// The start position of a group that has no committed offset.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace kafka {

struct start_policy {
  enum class kind { earliest, latest, time } where = kind::earliest;
  std::int64_t time_ms = 0;  // since 1970, for kind::time
};

// Parse "earliest", "latest", or an RFC 3339 time: 2026-11-01, 2026-11-01T06:30:00Z, 2026-11-01T06:30:00.250+02:00.
[[nodiscard]] std::optional<start_policy> parse_start(std::string_view text);

}  // namespace kafka
