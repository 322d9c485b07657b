// SPDX-License-Identifier: Apache-2.0
// Texts of alerts: parsed once, filled in for each.
#pragma once

#include "rule.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

[[nodiscard]] pl::result<message_template> parse_message(std::string_view source,
                                                         const std::vector<std::string>& group_by);

// The sentence for a rule without a message of its own.
[[nodiscard]] message_template default_message(const rule& r, bool resolved);

// What a message may speak of.
struct message_values {
  const rule& of;
  std::string_view state, severity;
  pl::cell value, threshold;
  std::int64_t since, time;
  std::string_view stream;
  std::uint64_t position;
  std::span<const pl::cell> key;
};

void append_message(std::string& out, const message_template& m, const message_values& values);

}  // namespace threshold_alert
