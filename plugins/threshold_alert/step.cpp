// SPDX-License-Identifier: Apache-2.0
#include "step.hpp"

#include <pipeline/batch.hpp>

#include <algorithm>
#include <limits>

namespace threshold_alert {
namespace {

// Return later - earlier without overflow; requires later >= earlier.
std::uint64_t span_between(std::int64_t earlier, std::int64_t later) noexcept {
  return static_cast<std::uint64_t>(later) - static_cast<std::uint64_t>(earlier);
}
bool reached(std::int64_t earlier, std::int64_t later, std::int64_t duration) noexcept {
  return later >= earlier && span_between(earlier, later) >= static_cast<std::uint64_t>(duration);
}

bool equal(const pl::scalar& wanted, const pl_cell& c) noexcept {
  if (const auto* t = std::get_if<std::string>(&wanted)) return c.kind == PL_TEXT && pl::bytes_of(c) == *t;
  if (const auto* b = std::get_if<bool>(&wanted)) return c.kind == PL_BOOL && (c.as.i != 0) == *b;
  if (const auto* i = std::get_if<std::int64_t>(&wanted))
    return c.kind == PL_I64 ? c.as.i == *i : c.kind == PL_F64 && c.as.f == static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&wanted)) return pl::is_number(c) && *pl::number_of(c) == *d;
  return false;
}

// Record a firing and return the number of firings within the window.
std::size_t count_firing(const rule& r, alert_state& s, std::int64_t time) {
  if (r.flap_fires == 0) return 0;
  std::erase_if(s.fired, [&](std::int64_t t) { return reached(t, time, r.flap_within); });
  s.fired.push_back(time);
  return s.fired.size();
}

notice notify(event_kind kind, open_alert& a, std::int32_t level, const moment& now) {
  a.level = level;
  a.notified = now.time;
  notice n{kind, level, false, false, now.time >= now.oldest, {}};
  if (n.publish) a.published_level = level;
  n.alert = a;
  return n;
}

notice open(const rule& r, alert_state& s, const moment& now) {
  auto& a = s.alert.emplace();
  a.since = now.began;
  a.flapping = r.flap_fires != 0 && count_firing(r, s, now.time) >= r.flap_fires;
  auto n = notify(a.flapping ? event_kind::flapping : event_kind::firing, a, s.level, now);
  n.opens = true;
  return n;
}

// Close the alert. A published alert is closed regardless of its age, so that receivers do not keep it open.
notice close(const rule& r, alert_state& s) {
  const bool publish = s.alert->published_level != unpublished && r.send_resolved;
  notice n{event_kind::resolved, s.alert->level, false, true, publish, *s.alert};
  s.alert.reset();
  return n;
}

// Publish a change that was too old when it occurred, as soon as the stream's time is within max_age; or repeat the
// alert.
std::optional<notice> remind(const rule& r, open_alert& a, const moment& now) {
  const auto steady = a.flapping ? event_kind::flapping : event_kind::firing;
  if (a.published_level != a.level) {
    const auto kind = a.published_level == unpublished || a.flapping ? steady : event_kind::changed;
    if (now.time >= now.oldest) return notify(kind, a, a.level, now);
    if (r.when == condition::silence) a.notified = now.time;  // checked again after max_age
    return std::nullopt;
  }
  if (r.repeat_interval != 0 && reached(a.notified, now.time, r.repeat_interval))
    return notify(steady, a, a.level, now);
  return std::nullopt;
}

std::optional<notice> step_flapping(const rule& r, alert_state& s, const moment& now) {
  auto& a = *s.alert;
  if (reached(s.last_flip, now.time, r.flap_within)) {  // steady again, either firing or clear
    s.fired.clear();
    if (s.level < 0) return close(r, s);
    a.flapping = false;
    return notify(event_kind::firing, a, s.level, now);
  }
  if (s.level > a.level) return notify(event_kind::flapping, a, s.level, now);
  return remind(r, a, now);
}

template <class Levels>
verdict judge_levels(const Levels& levels, double value) noexcept {
  verdict v;
  std::int32_t i = 0;
  for (const auto& l : levels) {
    if (l.breached_by(value)) v.breached = i;
    if (!l.cleared_by(value)) v.held = i;
    ++i;
  }
  return v;
}

}  // namespace

verdict judge(const rule& r, double value) noexcept { return judge_levels(r.levels, value); }
verdict judge(std::span<const bounds> levels, double value) noexcept { return judge_levels(levels, value); }

verdict judge(const rule& r, const pl_cell& value) noexcept {
  for (auto i = r.levels.size(); i-- > 0;)
    if (equal(r.levels[i].equals, value)) return {static_cast<std::int32_t>(i), static_cast<std::int32_t>(i)};
  return {};
}

std::int32_t debounce(const rule& r, rule_state& s, verdict v, std::int64_t time, std::int64_t& began) noexcept {
  auto level = s.alerts.level;
  const auto before = level;
  const auto count = [time](run& run, bool continues) {
    if (!continues) return run = {}, false;
    if (run.readings == 0) run.since = time;
    if (run.readings != std::numeric_limits<std::uint32_t>::max()) ++run.readings;
    return true;
  };
  for (auto i = before; i >= 0; --i) {  // falling, from the highest level that is reached
    auto& run = s.runs[static_cast<std::size_t>(i)];
    if (!count(run, v.held < i) || level != i || !reached(run.since, time, r.keep_firing_for)) continue;
    run = {};
    level = i - 1;
  }
  for (auto i = before + 1; i < static_cast<std::int32_t>(s.runs.size()); ++i) {  // rising
    auto& run = s.runs[static_cast<std::size_t>(i)];
    if (!count(run, v.breached >= i) || level != i - 1) continue;
    if (run.readings < r.times || !reached(run.since, time, r.hold_for)) continue;
    if (i == 0) began = run.since;
    run = {};
    level = i;
  }
  return level;
}

std::optional<notice> step(const rule& r, alert_state& s, std::int32_t level, const moment& now) {
  if ((s.level < 0) != (level < 0)) s.last_flip = now.time;
  s.level = level;
  if (!s.alert) return level < 0 ? std::nullopt : std::optional(open(r, s, now));
  if (s.alert->flapping) return step_flapping(r, s, now);
  if (level < 0) return close(r, s);
  if (level != s.alert->level) return notify(event_kind::changed, *s.alert, level, now);
  return remind(r, *s.alert, now);
}

}  // namespace threshold_alert
