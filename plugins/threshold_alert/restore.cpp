// SPDX-License-Identifier: Apache-2.0
#include "restore.hpp"

#include "retired_rules.hpp"
#include "rule_identity.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace threshold_alert {
namespace {

// Set the levels of a stored alert to those of the rule. The severity identifies a level; version 1 has none.
void fit_levels(const rule& r, const std::string& severity, alert_state& s) {
  const auto top = static_cast<std::int32_t>(r.levels.size()) - 1;
  auto& a = *s.alert;
  const auto severity_at = [&](std::int32_t i) -> const std::string& {
    return r.levels[static_cast<std::size_t>(i)].severity;
  };
  const bool steady = s.level == a.level;
  const bool known = a.level >= 0 && a.level <= top && (severity.empty() || severity_at(a.level) == severity);
  if (!known) {
    const auto at = std::ranges::find_if(r.levels, [&](const auto& l) { return l.severity == severity; });
    const bool published_so = a.published_level == a.level && at != r.levels.end();
    a.level = at != r.levels.end() ? static_cast<std::int32_t>(at - r.levels.begin()) : std::clamp(a.level, 0, top);
    if (a.published_level != unpublished) a.published_level = published_so ? a.level : published_otherwise;
  }
  if (a.published_level < published_otherwise) a.published_level = unpublished;
  if (a.published_level > top) a.published_level = published_otherwise;
  s.level = steady ? a.level : std::clamp(s.level, -1, top);
  if (s.level < 0 && !a.flapping) s.level = a.level;
}

}  // namespace

void key_restorer::snapshot(const trace_record& trace, const alerts_record& alerts, key_node& n) {
  restore_readings(trace, n);
  restore_silence(trace, n);
  for (const auto& p : trace.runs) restore_runs(p, n);
  for (const auto& e : alerts.entries) restore_alert(e, n);
}

void key_restorer::timers(const trace_record& trace, const alerts_record& alerts, key_node& n) {
  restore_silence(trace, n);
  const auto is_silence = [this](const rule_state& s) {
    const auto& r = rules_.rules[s.rule];
    return r.retired == end_reason::none && r.when == condition::silence;
  };
  if (n.states) std::erase_if(*n.states, is_silence);
  for (const auto& e : alerts.entries) {
    const auto rule = find_configured(rules_, e.rule);
    const bool value_rule = rule && rules_.rules[*rule].when != condition::silence;
    if (value_rule && why_retired(e, n) == end_reason::none) continue;  // reading its records again restores it
    if (n.states)
      std::erase_if(*n.states, [&](const rule_state& s) {
        const auto& r = rules_.rules[s.rule];
        return r.retired != end_reason::none && r.fingerprint == e.rule;
      });
    restore_alert(e, n);
  }
  if (n.states && n.states->empty()) n.states.reset();
}

void key_restorer::restore_readings(const trace_record& trace, key_node& n) {
  n.newest = trace.newest;
  for (std::size_t i = 0; i < rules_.configured; ++i) {
    const auto& r = rules_.rules[i];
    const auto* s = r.rate ? slot_of(trace, r) : nullptr;
    if (s == nullptr || !std::isfinite(std::bit_cast<double>(s->bits))) continue;
    n.slot(*r.slot).time = s->time;
    n.slot(*r.slot).value = std::bit_cast<double>(s->bits);
  }
}

void key_restorer::restore_silence(const trace_record& trace, key_node& n) {
  n.seen = trace.seen;
  n.seen_is_reading = trace.seen_is_reading;
  n.silences_ended = trace.silences_ended;
  n.position = trace.position;
  for (std::size_t i = 0; i < rules_.configured; ++i) {
    const auto& r = rules_.rules[i];
    const auto* s = r.slot && !r.rate ? slot_of(trace, r) : nullptr;
    if (s == nullptr) continue;
    n.slot(*r.slot).time = s->time;
    n.slot(*r.slot).position = s->bits;
  }
}

const trace_record::slot* key_restorer::slot_of(const trace_record& trace, const rule& r) const {
  for (const auto& s : trace.slots)
    if (s.rule == r.fingerprint && (s.meaning == 0 || s.meaning == slot_meaning(r))) return &s;
  return nullptr;
}

// Counts of readings are valid only for the condition under which they were counted.
void key_restorer::restore_runs(const trace_record::progress& p, key_node& n) {
  const auto rule = find_configured(rules_, p.rule);
  if (!rule || !keys_.scope_of(n).accepted[*rule]) return;
  const auto& r = rules_.rules[*rule];
  const bool same = p.definition == 0 || p.definition == r.definition;
  if (!same || r.when == condition::silence || r.levels.size() != p.runs.size()) return;
  auto& to = keys_.state_of(n, *rule);
  to.runs = p.runs;
  to.read_at = p.read_at;
  to.values = p.values;
}

end_reason key_restorer::why_retired(const alerts_record::entry& e, const key_node& n) const {
  const auto rule = find_configured(rules_, e.rule);
  if (!rule) return end_reason::rule_removed;
  if (!keys_.scope_of(n).accepted[*rule]) return end_reason::device_excluded;
  const bool silence = rules_.rules[*rule].when == condition::silence;
  return e.definition != 0 && e.silence != silence ? end_reason::rule_changed : end_reason::none;
}

std::int32_t key_restorer::published_level(const rule& r, const alerts_record::entry& e) {
  auto fitted = e.state;
  fit_levels(r, e.severity, fitted);
  return fitted.alert->published_level;
}

void key_restorer::restore_alert(alerts_record::entry e, key_node& n) {
  if (e.state == alert_state{}) return;
  const auto why = why_retired(e, n);
  const auto rule = find_configured(rules_, e.rule);
  if (why != end_reason::none) {
    if (!e.state.alert) return;
    if (e.severity.empty() && rule) {
      const auto& levels = rules_.rules[*rule].levels;
      const auto top = static_cast<std::int32_t>(levels.size()) - 1;
      e.severity = levels[static_cast<std::size_t>(std::clamp(e.state.alert->level, 0, top))].severity;
    }
    const auto retired = retire(rules_, e, why, stored_);
    keys_.state_of(n, retired).alerts = std::move(e.state);
    return;
  }
  const auto& r = rules_.rules[*rule];
  auto& to = keys_.state_of(n, *rule);
  to.alerts = std::move(e.state);
  to.recheck = e.recheck || (e.definition != 0 && e.definition != r.definition);
  if (to.alerts.alert)
    fit_levels(r, e.severity, to.alerts);
  else
    to.alerts.level = -1;
}

}  // namespace threshold_alert
