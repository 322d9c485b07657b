// SPDX-License-Identifier: Apache-2.0
#include "retired_rules.hpp"

#include "rule_identity.hpp"

#include <algorithm>

namespace threshold_alert {
namespace {

constexpr std::string_view unknown = "unknown";  // version 1 of the state has neither names nor severities

rule described(const rule_set& rules, std::uint64_t print, const rules_record& stored) {
  rule made;
  const auto described =
      std::ranges::find_if(stored.rules, [&](const auto& e) { return fingerprint(e.name) == print; });
  if (described != stored.rules.end()) {
    made.name = described->name;
    made.metric = described->metric;
    made.labels = described->labels;
    made.send_resolved = described->send_resolved;
  } else if (const auto known = find_configured(rules, print)) {
    const auto& r = rules.rules[*known];
    made.name = r.name;
    made.metric = r.metric;
    made.labels = r.labels;
    made.send_resolved = r.send_resolved;
  } else {
    made.name = unknown;
  }
  return made;
}

std::int32_t level_of(rule& r, std::string_view severity) {
  const auto at = std::ranges::find_if(r.levels, [&](const auto& l) { return l.severity == severity; });
  if (at != r.levels.end()) return static_cast<std::int32_t>(at - r.levels.begin());
  r.levels.emplace_back().severity = severity;
  return static_cast<std::int32_t>(r.levels.size() - 1);
}

}  // namespace

std::optional<std::uint32_t> find_configured(const rule_set& rules, std::uint64_t fingerprint) {
  for (std::uint32_t i = 0; i < rules.configured; ++i)
    if (rules.rules[i].fingerprint == fingerprint) return i;
  return std::nullopt;
}

std::uint32_t retire(rule_set& rules, alerts_record::entry& e, end_reason why, const rules_record& stored) {
  auto at = rules.configured;
  while (at < rules.rules.size() && (rules.rules[at].fingerprint != e.rule || rules.rules[at].retired != why)) ++at;
  if (at == rules.rules.size()) {
    auto fresh = described(rules, e.rule, stored);
    fresh.fingerprint = e.rule;
    fresh.definition = e.definition;
    if (e.silence) fresh.when = condition::silence;
    fresh.retired = why;
    (void)level_of(fresh, unknown);
    rules.rules.push_back(std::move(fresh));
  }
  auto& r = rules.rules[at];
  e.state.level = -1;
  if (e.state.alert) {
    const bool published = e.state.alert->published_level != unpublished;
    e.state.alert->level = level_of(r, e.severity.empty() ? unknown : std::string_view(e.severity));
    e.state.alert->published_level = published ? e.state.alert->level : unpublished;
  }
  return static_cast<std::uint32_t>(at);
}

std::string_view text_of(end_reason why) noexcept {
  switch (why) {
    case end_reason::rule_removed:
      return "rule removed from the configuration";
    case end_reason::device_excluded:
      return "the rule's match no longer includes this device";
    case end_reason::rule_changed:
      return "the rule was changed, and its condition does not hold";
    case end_reason::group_changed:
      return "group_by was changed";
    case end_reason::none:
      break;
  }
  return {};
}

std::string end_text(const rule& r, std::string_view device, std::string_view detail) {
  std::string text = r.name;
  text.append(": resolved for ").append(device).append(": ").append(detail);
  return text;
}

}  // namespace threshold_alert
