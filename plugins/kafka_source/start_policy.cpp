// SPDX-License-Identifier: Apache-2.0
#include "start_policy.hpp"

#include <pipeline/time.hpp>

namespace kafka {

std::optional<start_policy> parse_start(std::string_view text) {
  if (text == "earliest") return start_policy{start_policy::kind::earliest, 0};
  if (text == "latest") return start_policy{start_policy::kind::latest, 0};
  const auto time = pl::read_rfc3339(text);
  if (!time || time->seconds < 0) return std::nullopt;
  return start_policy{start_policy::kind::time, time->seconds * 1000 + time->fraction_in(3)};
}

}  // namespace kafka
