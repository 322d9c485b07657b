// SPDX-License-Identifier: Apache-2.0
// Rules that exist only in stored state: they are no longer configured, or no longer apply to a device. They follow the
// configured rules of the rule_set and are never evaluated; their open alerts are resolved, with the reason.
#pragma once

#include "records.hpp"
#include "rule.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace threshold_alert {

// Return the index of the configured rule with this fingerprint.
[[nodiscard]] std::optional<std::uint32_t> find_configured(const rule_set& rules, std::uint64_t fingerprint);

// Return the index of the retired rule that a stored alert belongs to; add it if it does not exist. `stored` describes
// the rules under which the state was stored. The alert's levels become those of that rule.
std::uint32_t retire(rule_set& rules, alerts_record::entry& e, end_reason why, const rules_record& stored);

// Return the text of the notice that resolves an alert of a retired rule. device: its values of group_by.
[[nodiscard]] std::string end_text(const rule& r, std::string_view device, std::string_view detail);
[[nodiscard]] std::string_view text_of(end_reason why) noexcept;

}  // namespace threshold_alert
