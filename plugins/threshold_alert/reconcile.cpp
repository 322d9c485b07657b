// SPDX-License-Identifier: Apache-2.0
#include "reconcile.hpp"

#include "retired_rules.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace threshold_alert {
namespace {

rule_state* find_alert(key_node& n, const uuid& id) {
  if (!n.states) return nullptr;
  const auto at =
      std::ranges::find_if(*n.states, [&](const auto& s) { return s.alerts.alert && s.alerts.alert->id == id; });
  return at == n.states->end() ? nullptr : &*at;
}

bool contains(const alerts_record& published, const uuid& id) {
  return std::ranges::any_of(published.entries,
                             [&](const auto& e) { return e.state.alert && e.state.alert->id == id; });
}

}  // namespace

bool reconciler::key(const stream_state& s, key_node& n, const alerts_record& published, bool discarded) {
  bool changed = false;
  key_restorer restorer(rules_, keys_, s.stored);
  for (const auto& e : published.entries)
    if (e.state.alert) changed |= keep(restorer, n, e, discarded);
  if (!discarded || !n.states) return changed;
  for (auto& state : *n.states)
    if (state.alerts.alert && !contains(published, state.alerts.alert->id)) changed |= withdraw(s, n, state);
  return changed;
}

bool reconciler::withdraw_new(const stream_state& s, key_node& n) {
  if (!n.states || s.stored.rules.empty()) return false;
  bool changed = false;
  for (auto& state : *n.states) {
    const auto& r = rules_.rules[state.rule];
    const bool known = std::ranges::any_of(s.stored.rules, [&](const auto& e) { return e.name == r.name; });
    if (state.alerts.alert && !known) changed |= withdraw(s, n, state);
  }
  return changed;
}

// A published alert that reading the records again did not give continues, or is resolved if no rule covers it.
bool reconciler::keep(key_restorer& restorer, key_node& n, const alerts_record::entry& e, bool discarded) {
  const auto why = restorer.why_retired(e, n);
  if (auto* same = find_alert(n, e.state.alert->id)) {
    const auto& r = rules_.rules[same->rule];
    if (r.retired != end_reason::none) return false;
    const auto level = key_restorer::published_level(r, e);
    return std::exchange(same->alerts.alert->published_level, level) != level;
  }
  const auto rule = why == end_reason::none ? find_configured(rules_, e.rule) : std::nullopt;
  auto* state = rule ? n.find(*rule) : nullptr;
  if (!rule || state == nullptr || !state->alerts.alert) {
    restorer.restore_alert(e, n);
    if (rule) reopen(n, *rule);
    return true;
  }
  if (discarded) {  // the same alert, opened by another record
    auto& a = *state->alerts.alert;
    a.id = e.state.alert->id;
    a.since = e.state.alert->since;
    a.published_level = key_restorer::published_level(rules_.rules[*rule], e);
    return true;
  }
  auto ended = e;
  const auto retired = retire(rules_, ended, end_reason::rule_changed, restorer.stored());
  keys_.state_of(n, retired).alerts = std::move(ended.state);
  return true;
}

// The next reading, or timer, evaluates the alert under the current rule.
void reconciler::reopen(key_node& n, std::uint32_t rule) const {
  auto& state = keys_.state_of(n, rule);
  state.recheck = true;
  state.runs.assign(state.runs.size(), {});
}

// An alert that was not published, or no longer exists. Its id may be that of an alert that was resolved.
bool reconciler::withdraw(const stream_state& s, key_node& n, rule_state& state) const {
  auto& a = *state.alerts.alert;
  const auto end = s.reread.end;
  if (rules_.rules[state.rule].retired != end_reason::none) {
    state.alerts = {};  // it was resolved before
    return true;
  }
  a.id = events_.make_id(s, n, state.rule, n.newest, end == 0 || end == PL_UNKNOWN ? PL_UNKNOWN : end - 1);
  a.published_level = unpublished;
  return true;
}

}  // namespace threshold_alert
