// SPDX-License-Identifier: Apache-2.0
// Hashes that identify rules and groupings in stored state. They are stable across versions and machines.
#pragma once

#include "rule.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

// Return the hash of a rule's name, which identifies the rule.
[[nodiscard]] std::uint64_t fingerprint(std::string_view name);
// Return the hash of the condition: what decides whether a reading, or an absence, meets the rule.
[[nodiscard]] std::uint64_t definition_of(const rule& r);
// Return the hash of what a stored reading of the rule (rule.slot) means.
[[nodiscard]] std::uint32_t slot_meaning(const rule& r);
// Return the hash of group_by. It is never 0.
[[nodiscard]] std::uint32_t grouping_of(const std::vector<std::string>& group_by);

}  // namespace threshold_alert
