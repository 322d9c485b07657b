// SPDX-License-Identifier: Apache-2.0
// Message templates: parsed once, filled in for each alert.
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

// Return the template for a rule that configures no message, by what the alert's value says about it.
enum class occasion_text : std::uint8_t { breached, held, resolved };
[[nodiscard]] message_template default_message(const rule& r, occasion_text of);

// Return the values of a packed key, separated by slashes. scratch: reused memory.
[[nodiscard]] std::string device_text(std::string_view key, std::vector<pl::cell>& scratch);

// The values of a message's placeholders.
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
