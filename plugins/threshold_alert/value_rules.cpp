// SPDX-License-Identifier: Apache-2.0
#include "value_rules.hpp"

#include "instant.hpp"

#include <pipeline/hash.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace threshold_alert {
namespace {

// Values of one time that are remembered. A device that sends more of them at one time sends no copies.
constexpr std::size_t most_values = 16;

std::uint64_t bits_of(const pl::cell& value) noexcept {
  if (pl::has_bytes(value)) return pl::fnv1a_64(pl::bytes_of(value));
  return value.kind == PL_F64 ? std::bit_cast<std::uint64_t>(value.as.f) : static_cast<std::uint64_t>(value.as.i);
}

// A copy of a reading has its time and its value: a message that was delivered twice does not count twice.
bool is_copy(const rule_state& s, std::int64_t time, const pl::cell& value) noexcept {
  return s.read_at == time && std::ranges::find(s.values, bits_of(value)) != s.values.end();
}

void remember(rule_state& s, std::int64_t time, const pl::cell& value) {
  if (s.read_at != time) s.values.clear();
  s.read_at = time;
  if (s.values.size() < most_values) s.values.push_back(bits_of(value));
}

}  // namespace

value_rules::value_rules(const rule_set& rules, const key_store& keys, event_log& events, tally& counts)
    : rules_(rules), keys_(keys), events_(events), tally_(counts) {
  for (const auto& r : rules.rules) {
    watch w{.when = r.when, .rate = r.rate.has_value()};
    w.computed = std::ranges::any_of(r.levels, &level::has_computed_limits);
    if (!r.levels.empty()) {
      w.low = r.levels.front().low;
      w.high = r.levels.front().high;
    }
    watches_.push_back(w);
  }
}

void value_rules::run(const stream_state& s, key_node& n, const batch_columns& columns, const record& r) {
  for (const auto rule : keys_.scope_of(n).values) {
    const auto& w = watches_[rule];
    if (w.when == condition::expression) {
      run_condition(s, n, rule, columns, r);
      continue;
    }
    const auto* cells = columns.metric[rule];
    if (cells == nullptr) continue;
    const auto& c = cells[r.row];
    if (pl::is_null(c)) {
      ++tally_.null_values;
      continue;
    }
    double number = 0;
    if (w.when != condition::equals) {
      if (c.kind == PL_F64)
        number = c.as.f;
      else if (c.kind == PL_I64)
        number = static_cast<double>(c.as.i);
      else {
        ++tally_.unfit_values;
        continue;
      }
      if (w.rate && !take_rate(rules_.rules[rule], n, number, r)) continue;
      if (!w.computed && number >= w.low && number <= w.high && !n.states) continue;
      const auto value = w.rate ? pl::real_cell(number) : c;
      if (w.computed)
        run_limits(s, n, rule, columns, number, value, r);
      else
        run_rule(s, n, rule, {value, value, judge(rules_.rules[rule], number)}, r);
      continue;
    }
    run_rule(s, n, rule, {c, c, judge(rules_.rules[rule], c)}, r);
  }
}

namespace {

// Replace a limit by the one that was computed for a record. Return false if there is none.
bool read_limit(const computed_by& from, const batch_columns& columns, std::uint32_t row, double& limit) {
  if (!from) return true;
  const auto number = pl::number_of(columns.computed[*from][row]);
  if (!number || !std::isfinite(*number)) return false;
  limit = *number;
  return true;
}

// Compute the limits of a level for a record.
bool read_limits(const level& l, const batch_columns& columns, std::uint32_t row, bounds& to) {
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  to = l;
  if (!read_limit(l.low_from, columns, row, to.low) || !read_limit(l.high_from, columns, row, to.high) ||
      !read_limit(l.clear_low_from, columns, row, to.clear_low) ||
      !read_limit(l.clear_high_from, columns, row, to.clear_high))
    return false;
  // A hysteresis of its own excludes its limit: "less than" instead of "at most".
  if (l.clear_low_from && l.clear_low_from != l.low_from) to.clear_low = std::nextafter(to.clear_low, infinity);
  if (l.clear_high_from && l.clear_high_from != l.high_from) to.clear_high = std::nextafter(to.clear_high, -infinity);
  // A value that breaches the level does not clear it.
  to.clear_low = std::max(to.clear_low, to.low);
  to.clear_high = std::min(to.clear_high, to.high);
  return true;
}

}  // namespace

// Evaluate a number against limits that this record determines. Without them, the record is not a reading of the rule.
void value_rules::run_limits(const stream_state& s, key_node& n, std::uint32_t rule, const batch_columns& columns,
                             double number, const pl::cell& value, const record& r) {
  const auto& what = rules_.rules[rule];
  limits_.resize(what.levels.size());
  for (std::size_t i = 0; i < what.levels.size(); ++i)
    if (!read_limits(what.levels[i], columns, r.row, limits_[i])) return void(++tally_.no_limits);
  run_rule(s, n, rule, {value, value, judge(limits_, number), limits_}, r);
}

// Evaluate a condition. A record for which it fails is not a reading of the rule, unless a higher severity holds anyway.
void value_rules::run_condition(const stream_state& s, key_node& n, std::uint32_t rule, const batch_columns& columns,
                                const record& r) {
  const auto& what = rules_.rules[rule];
  verdict v;
  bool unknown = false;
  for (auto i = static_cast<std::int32_t>(what.levels.size()); i-- > 0 && v.breached < 0;) {
    const auto& holds = columns.computed[*what.levels[static_cast<std::size_t>(i)].when][r.row];
    if (holds.kind != PL_BOOL)
      unknown = true;
    else if (holds.as.i != 0)
      v = {i, i};
  }
  if (v.breached < 0 && unknown) return void(++tally_.failed_conditions);
  if (v.breached < 0 && !n.states) return;
  const auto* cells = columns.metric[rule];
  run_rule(s, n, rule, {cells != nullptr ? cells[r.row] : pl::null_cell(), pl::int_cell(v.breached), v}, r);
}

void value_rules::restart(key_node& n, std::int64_t time) const {
  for (std::size_t i = 0; i < rules_.configured; ++i)
    if (rules_.rules[i].rate) n.slot(*rules_.rules[i].slot).time = never;
  if (!n.states) return;
  for (auto& state : *n.states) {
    if (state.runs.empty()) continue;  // silence
    state.runs.assign(state.runs.size(), {});
    state.read_at = never;
    auto& a = state.alerts;
    a.last_flip = std::min(a.last_flip, time);
    std::erase_if(a.fired, [time](std::int64_t t) { return t > time; });
    if (a.alert) a.alert->notified = std::min(a.alert->notified, time);
  }
}

// Compute the rate since the reference reading. The reference is replaced by the first reading at least `over` later.
bool value_rules::take_rate(const rule& r, key_node& n, double& value, const record& now) {
  auto& before = n.slot(*r.slot);
  const bool known = before.time != never;
  if (known && now.time == before.time) return ++tally_.repeated_times, false;
  if (known && now.time < plus(before.time, r.over)) return false;
  const double reading_now = value;
  if (known)
    value = (reading_now - before.value) / seconds_between(before.time, now.time) *
            (static_cast<double>(nanoseconds_of(*r.rate)) / 1e9);
  before.time = now.time;
  before.value = reading_now;
  return known;
}

void value_rules::run_rule(const stream_state& s, key_node& n, std::uint32_t rule, const finding& found,
                           const record& r) {
  const auto& what = rules_.rules[rule];
  auto* state = n.find(rule);
  if (state != nullptr && is_copy(*state, r.time, found.identity)) return void(++tally_.copies);
  auto verdict = found.of;
  if (state == nullptr && verdict.breached < 0) return;
  if (state == nullptr) state = &keys_.state_of(n, rule);
  if (verdict.breached >= 0) state->recheck = false;
  if (state->recheck) verdict = without_hysteresis(verdict);
  moment now{r.time, r.time, events_.oldest()};
  const auto level = debounce(what, *state, verdict, r.time, now.began);
  auto news = step(what, state->alerts, level, now);
  if (news || verdict.held >= 0 || state->read_at == r.time) remember(*state, r.time, found.identity);
  if (!state->alerts.alert) state->recheck = false;
  if (news) {
    const bool breached = verdict.breached >= news->level;
    events_.raise(s, n, rule, state->alerts, *std::move(news),
                  {r.time, found.value, r.position, r, breached, end_reason::none, found.limits});
  }
  keys_.drop_blank(n, rule, r.time);
}

}  // namespace threshold_alert
