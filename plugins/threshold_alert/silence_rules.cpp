// SPDX-License-Identifier: Apache-2.0
#include "silence_rules.hpp"

#include "instant.hpp"
#include "retired_rules.hpp"

#include <algorithm>
#include <utility>

namespace threshold_alert {
namespace {

// After a gap in which nothing could arrive, queued messages arrive first: silence is judged after this time.
constexpr std::int64_t longest_settling = 60'000'000'000;

}  // namespace

silence_rules::silence_rules(const rule_set& rules, key_store& keys, event_log& events)
    : rules_(rules), keys_(keys), events_(events), any_(rules.forget_after != 0) {
  for (const auto& r : rules.rules) any_ |= r.when == condition::silence;
}

// ----------------------------------------------------------------------------------------------------------- times ---

// All times are wall time, or the records' own time in a stream without an arrival clock.
std::int64_t silence_rules::clock(const stream_state& s) const noexcept {
  if (s.clock.by_arrival) return s.clock.wall(s.clock.now);
  return s.caught_up ? std::max(s.greatest, wall_) : s.greatest;
}

// Return the latest deadline that has passed. By the records' own time, a device may still send a record of this time.
std::int64_t silence_rules::last_due(const stream_state& s) const noexcept {
  return s.clock.by_arrival ? clock(s) : minus(clock(s), 1);
}

std::int64_t silence_rules::last_seen(const rule& r, const key_node& n) const noexcept {
  return r.slot ? n.slot(*r.slot).time : n.seen;
}

std::int64_t silence_rules::level_deadline(const stream_state& s, const rule& r, std::size_t level,
                                           std::int64_t seen) const noexcept {
  const auto missing_for = r.levels[level].missing_for;
  const auto due = plus(s.clock.wall(seen), missing_for);
  if (!s.clock.by_arrival || s.clock.connected == never) return due;
  return std::max(due, plus(s.clock.wall(s.clock.connected), std::min(missing_for, longest_settling)));
}

// Return the interval at which an open alert is processed again: to repeat it, or, if the alert was too old to be
// published, to check its age again.
std::int64_t silence_rules::poll_interval(const rule& r, const open_alert& a) const noexcept {
  return a.published_level != a.level && rules_.max_age != 0 ? rules_.max_age : r.repeat_interval;
}

std::int64_t silence_rules::silence_deadline(const stream_state& s, std::uint32_t rule, key_node& n) const noexcept {
  const auto& r = rules_.rules[rule];
  const auto seen = last_seen(r, n);
  if (seen == never) return no_deadline;
  const auto* state = n.find(rule);
  const auto next = static_cast<std::size_t>(state == nullptr ? 0 : state->alerts.level + 1);
  auto due = next < r.levels.size() ? level_deadline(s, r, next, seen) : no_deadline;
  if (state == nullptr || !state->alerts.alert) return due;
  const auto& a = *state->alerts.alert;
  if (const auto interval = poll_interval(r, a); interval != 0) due = std::min(due, plus(a.notified, interval));
  if (a.flapping) due = std::min(due, plus(state->alerts.last_flip, r.flap_within));
  return due;
}

std::int64_t silence_rules::forget_deadline(const stream_state& s, const key_node& n) const noexcept {
  if (rules_.forget_after == 0 || n.seen == never || n.rereading) return no_deadline;
  if (!s.reread.published.empty() && s.reread.published.contains(n.key())) return no_deadline;
  const auto open = [](const rule_state& state) { return state.alerts.alert.has_value(); };
  if (n.states && std::ranges::any_of(*n.states, open)) return no_deadline;
  return plus(s.clock.wall(n.seen), rules_.forget_after);
}

std::int64_t silence_rules::next_deadline(const stream_state& s, key_node& n) const noexcept {
  auto due = forget_deadline(s, n);
  for (const auto rule : keys_.scope_of(n).silences) due = std::min(due, silence_deadline(s, rule, n));
  return due;
}

// --------------------------------------------------------------------------------------------------------- records ---

// The events do not depend on whether a timer or the key's next record comes first: a silence that a record ends is
// raised at that record if no timer has raised it.
void silence_rules::arrive(stream_state& s, key_node& n, const batch_columns& columns, const record& r) {
  const auto& sc = keys_.scope_of(n);
  const auto now = s.clock.wall(r.arrival);
  const bool reports = !n.states && n.queued_at != not_queued && plus(s.clock.wall(n.seen), sc.shortest_silence) > now;
  if (!reports || sc.metric_silence) arrive_at_rules(s, n, columns, r, now);
  n.seen = std::max(n.seen, r.arrival);
  n.seen_is_reading = true;
  n.position = r.position;
}

void silence_rules::arrive_at_rules(stream_state& s, key_node& n, const batch_columns& columns, const record& r,
                                    std::int64_t now) {
  bool reschedule = n.seen == never || n.queued_at == not_queued;
  for (const auto rule : keys_.scope_of(n).silences) {
    const auto& what = rules_.rules[rule];
    const auto* cells = what.slot ? columns.metric[rule] : nullptr;
    if (what.slot && (cells == nullptr || pl::is_null(cells[r.row]))) continue;
    const auto seen = last_seen(what, n);
    if (seen != never) reschedule |= raise_missed(s, n, rule, r);
    if (what.slot) {
      auto& slot = n.slot(*what.slot);
      reschedule |= slot.time == never;
      slot.time = std::max(slot.time, r.arrival);
      slot.position = r.position;
    }
    reschedule |= end_silence(s, n, rule, now, s.clock.wall(seen), r);
  }
  n.seen = std::max(n.seen, r.arrival);
  if (reschedule) schedule(s, n);
}

// Raise the levels that the key has reached before this record. Repeated notices are left to timers.
bool silence_rules::raise_missed(stream_state& s, key_node& n, std::uint32_t rule, const record& r) {
  const auto& what = rules_.rules[rule];
  const auto seen = last_seen(what, n);
  const auto now = s.clock.wall(r.arrival);
  bool raised = false;
  while (true) {
    const auto* state = n.find(rule);
    const auto next = static_cast<std::size_t>(state == nullptr ? 0 : state->alerts.level + 1);
    if (next >= what.levels.size()) return raised;
    const auto due = level_deadline(s, what, next, seen);
    if (due > now) return raised;
    auto& to = keys_.state_of(n, rule);
    const auto position = what.slot ? n.slot(*what.slot).position : n.position;
    const auto began = s.clock.wall(seen);
    if (auto news = step(what, to.alerts, static_cast<std::int32_t>(next), {due, began, events_.oldest()}))
      events_.raise(s, n, rule, to.alerts, *std::move(news),
                    {due, pl::real_cell(seconds_between(began, due)), position, r});
    raised = true;
  }
}

// The key has sent a record: it is no longer silent.
bool silence_rules::end_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t now, std::int64_t seen,
                                const record& r) {
  auto* state = n.find(rule);
  if (state == nullptr) return false;
  const auto since = state->alerts.alert ? state->alerts.alert->since : seen;
  if (auto news = step(rules_.rules[rule], state->alerts, -1, {now, now, events_.oldest()}))
    events_.raise(s, n, rule, state->alerts, *std::move(news),
                  {now, pl::real_cell(seconds_between(std::min(since, now), now)), r.position, r});
  state->recheck = false;
  keys_.drop_blank(n, rule, now);
  return true;
}

bool silence_rules::run(stream_state& s, key_node& n, const batch_columns& columns, const record& r, bool first) {
  const auto& sc = keys_.scope_of(n);
  const auto now = clock(s);
  bool reschedule = first || n.queued_at == not_queued;
  for (const auto rule : sc.silences) {
    const auto& what = rules_.rules[rule];
    auto seen = r.time;
    if (what.slot) {
      const auto* cells = columns.metric[rule];
      if (cells == nullptr || pl::is_null(cells[r.row])) continue;
      auto& slot = n.slot(*what.slot);
      reschedule |= slot.time == never || plus(r.time, what.levels.front().missing_for) < now;
      seen = std::exchange(slot.time, r.time);
      slot.position = r.position;
    }
    const bool back = plus(r.time, what.levels.front().missing_for) >= now;
    if (back) reschedule |= end_silence(s, n, rule, r.time, seen, r);  // else it is still silent by the stream's time
  }
  if (plus(r.time, sc.shortest_silence) < now) reschedule = true;
  if (!reschedule) return true;
  const auto due = next_deadline(s, n);
  s.deadlines.set(n, due);
  if (due >= now) return true;
  const auto before = s.keys.size();
  expire(s, r);
  return s.keys.size() == before;
}

// ---------------------------------------------------------------------------------------------------------- timers ---

void silence_rules::expire(stream_state& s, const record& cause) {
  const auto limit = last_due(s);
  while (!s.deadlines.empty() && s.deadlines.front().due <= limit) {
    const auto [queued, node] = s.deadlines.front();
    const auto due = next_deadline(s, *node);
    if (due > queued)
      s.deadlines.set(*node, due);  // records have postponed the deadline
    else
      expire_key(s, *node, due, limit, cause);
  }
}

void silence_rules::expire_key(stream_state& s, key_node& n, std::int64_t due, std::int64_t limit,
                               const record& cause) {
  for (const auto rule : keys_.scope_of(n).silences)
    if (silence_deadline(s, rule, n) <= due) expire_silence(s, n, rule, due, limit, cause);
  if (forget_deadline(s, n) <= due) {
    keys_.remove(s, n);
    return;
  }
  keys_.note_change(s, n);
  s.deadlines.set(n, next_deadline(s, n));
}

void silence_rules::expire_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t due,
                                   std::int64_t limit, const record& cause) {
  const auto& r = rules_.rules[rule];
  auto& state = keys_.state_of(n, rule);
  const auto reading = last_seen(r, n);
  const auto seen = s.clock.wall(reading);
  auto level = state.alerts.level;
  const auto next = static_cast<std::size_t>(std::int64_t{level} + 1);
  moment when{due, seen, events_.oldest()};
  if (next < r.levels.size() && level_deadline(s, r, next, reading) <= due) {
    ++level;
  } else if (const auto interval = poll_interval(r, *state.alerts.alert); interval != 0 && due < limit) {
    // If the stream's time has jumped over several repeats, send only the last of them.
    const auto whole = static_cast<std::uint64_t>(limit) - static_cast<std::uint64_t>(due);
    if (plus(state.alerts.alert->notified, interval) == due)
      when.time = shifted(due, static_cast<std::int64_t>(whole - whole % static_cast<std::uint64_t>(interval)));
  }
  const auto position = r.slot ? n.slot(*r.slot).position : n.position;
  if (auto news = step(r, state.alerts, level, when)) {
    const auto silent_since = std::min(news->closes ? news->alert.since : seen, when.time);
    events_.raise(s, n, rule, state.alerts, *std::move(news),
                  {when.time, pl::real_cell(seconds_between(silent_since, when.time)), position, cause});
  }
  keys_.drop_blank(n, rule, when.time);
}

void silence_rules::reevaluate(stream_state& s, key_node& n) {
  const auto limit = last_due(s);
  const record cause{.stream = s.name};
  for (const auto rule : keys_.scope_of(n).silences) {
    const auto& r = rules_.rules[rule];
    auto* state = n.find(rule);
    if (state == nullptr || !state->alerts.alert) continue;
    if (!std::exchange(state->recheck, false) && state->alerts.alert->published_level != published_otherwise) continue;
    const auto seen = last_seen(r, n);
    auto level = state->alerts.level;
    while (level >= 0 && (seen == never || level_deadline(s, r, static_cast<std::size_t>(level), seen) > limit))
      --level;
    const auto now = clock(s);
    auto news = step(r, state->alerts, level, {now, now, events_.oldest()});
    if (!news) continue;
    const auto silent_since = std::min(seen == never ? news->alert.since : s.clock.wall(seen), now);
    const auto why = news->closes ? end_reason::rule_changed : end_reason::none;
    if (news->closes) ++n.silences_ended;
    events_.raise(s, n, rule, state->alerts, *std::move(news),
                  {now, pl::real_cell(seconds_between(silent_since, now)), n.position, cause, true, why});
    keys_.drop_blank(n, rule, now);
  }
}

}  // namespace threshold_alert
