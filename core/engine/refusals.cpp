// SPDX-License-Identifier: Apache-2.0
#include "engine/refusals.hpp"

namespace pl::engine {

namespace {

bool is_number_part(char c) { return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+'; }

}  // namespace

std::string general_reason(std::string_view reason) {
  std::string general;
  for (std::size_t i = 0; i < reason.size(); ++i) {
    const char c = reason[i];
    if (c == '\'' || c == '"')
      if (const auto end = reason.find(c, i + 1); end != std::string_view::npos) {
        general += c;
        i = end;
        continue;
      }
    if (!is_number_part(c)) general += c;
  }
  return general;
}

void refusals::add(const std::vector<rejection>& rejected) {
  for (const auto& r : rejected) {
    if (rows_++ == 0) {
      first_ = r.why;
      general_ = general_reason(r.why);
    } else if (one_reason_ && r.why != first_) {
      one_reason_ = general_reason(r.why) == general_;
    }
  }
}

}  // namespace pl::engine
