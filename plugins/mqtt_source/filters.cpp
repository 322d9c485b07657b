// SPDX-License-Identifier: Apache-2.0
#include "filters.hpp"

#include <mqtt_common/strings.hpp>

#include <algorithm>
#include <optional>

namespace mqtt {
namespace {

constexpr std::string_view share_prefix = "$share/";

// The levels of a filter or a topic, one after the other.
class levels {
 public:
  explicit levels(std::string_view of) : rest_(of) {}
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  std::string_view next() {
    const auto slash = rest_.find('/');
    const auto level = rest_.substr(0, slash);
    ended_ = slash == std::string_view::npos;
    if (!ended_) rest_.remove_prefix(slash + 1);
    return level;
  }

 private:
  std::string_view rest_;
  bool ended_ = false;
};

// A wildcard at the beginning does not match topics that begin with '$'.
bool is_hidden_from_wildcards(std::string_view filter_or_topic) { return filter_or_topic.starts_with('$'); }
bool begins_with_wildcard(std::string_view filter) { return filter.starts_with('+') || filter.starts_with('#'); }

}  // namespace

split_filter split(std::string_view text) {
  if (!text.starts_with(share_prefix)) return {{}, text};
  text.remove_prefix(share_prefix.size());
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return {text, {}};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

std::string filter_problem(std::string_view text) {
  const bool shared = text.starts_with(share_prefix);
  const auto [group, filter] = split(text);
  if (shared && (group.empty() || group.find_first_of("+#") != std::string_view::npos || filter.empty()))
    return "a shared subscription must have the form $share/<group>/<filter>";
  if (filter.empty()) return "a topic filter must not be empty";
  if (const auto problem = string_problem(text)) return "the topic filter " + *problem;
  for (std::size_t i = 0; i < filter.size(); ++i) {
    const bool alone = (i == 0 || filter[i - 1] == '/') && (i + 1 == filter.size() || filter[i + 1] == '/');
    if ((filter[i] == '+' || filter[i] == '#') && !alone)
      return std::string("'") + filter[i] + "' must be a whole level, between slashes or at an end of the filter";
    if (filter[i] == '#' && i + 1 != filter.size()) return "'#' is allowed only at the end of a filter";
  }
  return {};
}

// A topic is a filter that matches only itself; its levels may not be wildcards, which brokers ensure.
bool matches(std::string_view filter, std::string_view topic) { return covers(filter, topic); }

bool covers(std::string_view wide, std::string_view narrow) {
  if (begins_with_wildcard(wide) && is_hidden_from_wildcards(narrow)) return false;
  levels w(wide), n(narrow);
  while (true) {
    const auto level = w.next();
    if (level == "#") return true;
    const auto other = n.next();
    if (other == "#" || (level != "+" && level != other)) return false;
    if (n.ended()) return w.ended() || w.next() == "#";  // a/# matches a, too
    if (w.ended()) return false;
  }
}

bool overlap(std::string_view a, std::string_view b) {
  if (begins_with_wildcard(a) && is_hidden_from_wildcards(b)) return false;
  if (begins_with_wildcard(b) && is_hidden_from_wildcards(a)) return false;
  levels x(a), y(b);
  while (true) {
    const auto one = x.next(), other = y.next();
    if (one == "#" || other == "#") return true;
    if (one != "+" && other != "+" && one != other) return false;
    if (x.ended() && y.ended()) return true;
    if (x.ended()) return y.next() == "#";
    if (y.ended()) return x.next() == "#";
  }
}

filter_pair compare(const std::string& earlier, const std::string& later) {
  if (earlier == later) return {relation::redundant, "'" + later + "' is listed twice; remove one of them"};
  const auto a = split(earlier), b = split(later);
  const bool first_covers = covers(a.filter, b.filter), second_covers = covers(b.filter, a.filter);
  const bool together = a.group.empty() && b.group.empty();
  if (first_covers || second_covers) {
    const auto& narrow = first_covers ? later : earlier;
    const auto& wide = first_covers ? earlier : later;
    const auto fault = "'" + narrow + "' matches only topics that '" + wide + "' matches, too: ";
    return {relation::redundant,
            fault + (together ? "brokers may deliver their messages twice; remove '" + narrow + "'"
                              : "the broker delivers their messages once for each of the two subscriptions; remove one "
                                "of them")};
  }
  if (!overlap(a.filter, b.filter)) return {};
  return {relation::overlapping,
          "'" + earlier + "' and '" + later + "' match some of the same topics: " +
              (together ? "brokers may deliver messages of these topics twice"
                        : "the broker delivers messages of these topics once for each of the two subscriptions")};
}

}  // namespace mqtt
