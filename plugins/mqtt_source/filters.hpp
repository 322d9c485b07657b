// SPDX-License-Identifier: Apache-2.0
// Topic filters: the rules for them (MQTT 5, 4.7), which topics they match, and how two of them relate. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mqtt {

// Split $share/<group>/<filter>. A filter that is not shared has an empty group.
struct split_filter {
  std::string_view group, filter;
};
[[nodiscard]] split_filter split(std::string_view text);

// Return why the text is not a valid topic filter; empty if it is valid.
[[nodiscard]] std::string filter_problem(std::string_view text);

// In the functions below, filters are without $share/<group>/.
[[nodiscard]] bool matches(std::string_view filter, std::string_view topic);
// Return whether `wide` matches every topic that `narrow` matches.
[[nodiscard]] bool covers(std::string_view wide, std::string_view narrow);
// Return whether there is a topic that both filters match.
[[nodiscard]] bool overlap(std::string_view a, std::string_view b);

// How two subscriptions of one client relate: whether a broker may, or will, deliver a message for each of them.
enum class relation {
  separate,
  overlapping,  // for some topics
  redundant,    // for all topics of one of the two
};
struct filter_pair {
  relation how = relation::separate;
  std::string problem;  // a sentence about the two filters; empty if they are separate
};
[[nodiscard]] filter_pair compare(const std::string& earlier, const std::string& later);

}  // namespace mqtt
