// SPDX-License-Identifier: Apache-2.0
#include "evaluator.hpp"

#include "instant.hpp"
#include "message.hpp"
#include "reconcile.hpp"
#include "retired_rules.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string>

namespace threshold_alert {
namespace {

// Rows whose memory is fetched ahead of their evaluation.
constexpr std::size_t stride = 16;

// A device's clock was wrong if its newest time is ahead by more than the tolerance. After this number of consecutive
// records that are older, its clock is right again.
constexpr std::int64_t clock_tolerance = 1'000'000'000;
constexpr std::uint8_t records_to_return = 3;

}  // namespace

evaluator::evaluator(rule_set& rules, std::string_view pipeline, std::string_view node, pl::arrival_clocks clocks)
    : rules_(rules),
      clocks_(clocks),
      keys_(rules),
      events_(rules, pipeline, node),
      values_(rules, keys_, events_, tally_),
      silences_(rules, keys_, events_) {}

std::span<const event> evaluator::apply(pl::batch_view in, const column_places& at,
                                        std::span<const std::vector<pl::cell>> computed) {
  events_.clear();
  enter(in, at, computed);
  std::array<std::uint32_t, stride> rows{};
  std::size_t n = 0;
  for (const auto row : in.selection()) {
    rows[n++] = row;
    if (n == stride) run_rows(in, std::span(rows.data(), std::exchange(n, 0)));
  }
  run_rows(in, std::span(rows.data(), n));
  leave(in);
  return events_.finish();
}

void evaluator::enter(pl::batch_view in, const column_places& at, std::span<const std::vector<pl::cell>> computed) {
  origins_.clear();
  for (const auto& range : in.ranges()) {
    origins_.push_back(&stream(pl::view(range.stream)));
    (void)read_clock(*origins_.back());
    if (range.end == PL_UNKNOWN || range.next < range.end) origins_.back()->caught_up = false;
  }
  if (origins_.empty()) origins_.push_back(&stream({}));
  if (in.selected() == 0) return;
  columns_.set(in, at, computed);
}

void evaluator::leave(pl::batch_view in) {
  for (std::size_t i = 0; i < in.ranges().size(); ++i) {
    const auto& range = in.ranges()[i];
    origins_[i]->caught_up = range.end != PL_UNKNOWN && range.next >= range.end;
    origins_[i]->read_to = range.next;
    if (!origins_[i]->reread.published.empty()) apply_published_below(*origins_[i], range.next);
  }
}

// Prefetch the nodes of a stride of rows before evaluating them, because large fleets do not fit into the CPU caches.
void evaluator::run_rows(pl::batch_view in, std::span<const std::uint32_t> rows) {
  std::array<std::uint32_t, stride> hashes{};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    hashes[i] = keys_.hash_row(columns_.keys, rows[i]);
    origins_[in.origin(rows[i])]->keys.prefetch_place(hashes[i]);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) origins_[in.origin(rows[i])]->keys.prefetch_node(hashes[i]);
  for (std::size_t i = 0; i < rows.size(); ++i) run_row(in, rows[i], hashes[i]);
}

void evaluator::run_row(pl::batch_view in, std::uint32_t row, std::uint32_t hash) {
  auto& s = *origins_[in.origin(row)];
  record r{row, never, in.position(row), in.stream(row)};
  if (s.reread.active && r.position != PL_UNKNOWN && r.position >= s.reread.end) end_reread(s);
  if (!s.clock.by_arrival) {
    if (!usable_time(columns_.time[row], wall_)) return;
    if (!has_key(row)) return void(++tally_.no_key);
    r.time = columns_.time[row].as.i;
    return run_by_time(s, r, hash);
  }
  if (!has_key(row)) return void(++tally_.no_key);
  const auto* arrivals = in.raw()->arrival;
  r.arrival = arrivals != nullptr ? arrivals[row] : s.clock.now;
  run_by_arrival(s, r, hash);
}

// The record's own time only orders the records of its device. Silence is measured by arrivals, and a record with an
// unusable time arrives, too.
void evaluator::run_by_arrival(stream_state& s, record& r, std::uint32_t hash) {
  auto* known = keys_.find_or_admit(s, columns_.keys, r.row, hash);
  if (known == nullptr) return void(++tally_.no_room);
  auto& n = *known;
  keys_.note_change(s, n);
  if (n.rereading) apply_later(s, n, r, false);
  if (!s.reread.published.empty()) apply_published(s, n, r, false);
  const auto& time = columns_.time[r.row];
  const auto now = s.clock.wall(r.arrival);
  if (usable_time(time, now) && in_order(n, time.as.i, now)) {
    r.time = n.newest = time.as.i;
    values_.run(s, n, columns_, r);
  }
  if (silences_.any()) silences_.arrive(s, n, columns_, r);
  if (n.rereading) apply_later(s, n, r, true);
  if (!s.reread.published.empty()) apply_published(s, n, r, true);
}

void evaluator::run_by_time(stream_state& s, const record& r, std::uint32_t hash) {
  if (r.time > s.greatest) {
    s.greatest = r.time;
    silences_.expire(s, r);
  }
  auto* known = keys_.find_or_admit(s, columns_.keys, r.row, hash);
  if (known == nullptr) return void(++tally_.no_room);
  auto& n = *known;
  if (n.rereading) apply_later(s, n, r, false);
  if (!s.reread.published.empty()) apply_published(s, n, r, false);
  if (!in_order(n, r.time, wall_)) return;
  keys_.note_change(s, n);
  const bool first = n.newest == never;
  n.newest = n.seen = r.time;
  n.position = r.position;
  values_.run(s, n, columns_, r);
  const bool exists = !silences_.any() || silences_.run(s, n, columns_, r, first);
  if (exists && n.rereading) apply_later(s, n, r, true);
  if (exists && !s.reread.published.empty()) apply_published(s, n, r, true);
}

// now: when the record arrived, as wall time.
bool evaluator::usable_time(const pl::cell& c, std::int64_t now) {
  if (c.kind != PL_TIME_NS) return ++tally_.no_time, false;
  if (rules_.max_ahead == 0 || now == never || c.as.i <= plus(now, rules_.max_ahead)) return true;
  return ++tally_.ahead, false;
}

// Return whether the record is evaluated: it is not older than the device's newest record, or that record's time was
// wrong.
bool evaluator::in_order(key_node& n, std::int64_t time, std::int64_t now) {
  if (time >= n.newest) return n.late = 0, true;
  const bool was_ahead = now != never && n.newest > plus(now, clock_tolerance);
  n.late = was_ahead ? static_cast<std::uint8_t>(n.late + 1) : std::uint8_t{0};
  if (n.late < records_to_return) return ++tally_.late, false;
  n.late = 0;
  values_.restart(n, time);
  return true;
}

bool evaluator::has_key(std::uint32_t row) const noexcept {
  for (const auto* column : columns_.keys)
    if (pl::is_null(column[row])) return false;
  return true;
}

// ---------------------------------------------------------------------------------------------------------- timers ---

std::span<const event> evaluator::tick(std::int64_t wall) {
  events_.clear();
  set_wall(wall);
  silences_.set_wall(wall);
  keys_.each_stream([&](stream_state& s) {
    const bool read = read_clock(s);
    if (s.reread.active) end_reread(s);  // the host lets no timers run before
    const bool known = s.clock.by_arrival ? read : s.caught_up;
    settle(s, known);
    if (known) silences_.expire(s, record{.stream = s.name});
  });
  return events_.finish();
}

void evaluator::set_wall(std::int64_t now) noexcept {
  wall_ = now;
  if (rules_.max_age != 0) events_.set_oldest(minus(now, rules_.max_age));
}

// Return whether the stream has an arrival clock now. A gap moves all deadlines.
bool evaluator::read_clock(stream_state& s) {
  const auto read = clocks_.read(s.name);
  if (!read) return false;
  const auto ns = [](pl::timestamp t) { return std::int64_t{t.time_since_epoch().count()}; };
  const stream_clock now{true, ns(read->now), std::int64_t{read->behind.count()},
                         read->connected ? ns(*read->connected) : never};
  const auto before = std::exchange(s.clock, now);
  if (!before.by_arrival) s.keys.for_each([&](key_node& n) { adopt_clock(s, n); });
  const bool moved = !before.by_arrival || before.behind != now.behind || before.connected != now.connected;
  if (moved && silences_.any()) s.keys.for_each([&](key_node& n) { silences_.schedule(s, n); });
  return true;
}

// Convert the records' own times, by which a stream without an arrival clock measures silence.
void evaluator::adopt_clock(const stream_state& s, key_node& n) const {
  if (n.seen_is_reading || n.seen == never) return;
  const auto reading_of = [&s](std::int64_t time) {
    return time == never ? never : std::min(shifted(time, -s.clock.behind), s.clock.now);
  };
  n.seen_is_reading = true;
  n.seen = reading_of(n.seen);
  for (std::size_t i = 0; i < rules_.configured; ++i) {
    const auto& r = rules_.rules[i];
    if (r.slot && !r.rate) n.slot(*r.slot).time = reading_of(n.slot(*r.slot).time);
  }
}

// ------------------------------------------------------------------------------------------------- restored state ---

void evaluator::restored(stream_state& s, key_node& n) {
  events_.count_alerts(n, 1);
  if (s.clock.by_arrival) adopt_clock(s, n);
  if (silences_.any()) silences_.schedule(s, n);
  if (needs_settling(n)) s.to_settle.emplace_back(n.key());
}

void evaluator::restored(stream_state& s, foreign_key key) {
  for (const auto& [rule, alert] : key.alerts) events_.count_alert(rule, 1);
  s.foreign.push_back(std::move(key));
}

// Replace what a timer changed after the last snapshot, once the key's records up to there are read again.
void evaluator::apply_later(stream_state& s, key_node& n, const record& r, bool is_read) {
  const auto at = s.later.find(&n);
  const bool reached =
      at != s.later.end() && (is_read ? r.position >= at->second.position : r.position > at->second.position);
  if (!reached) return;
  replace_by_timer(s, n);
}

void evaluator::replace_by_timer(stream_state& s, key_node& n) {
  const auto later = std::move(s.later.extract(&n).mapped());
  n.rereading = false;
  events_.count_alerts(n, -1);
  key_restorer(rules_, keys_, s.stored).timers(later.trace, later.alerts, n);
  restored(s, n);
}

void evaluator::restored(stream_state& s, std::uint64_t end) {
  const bool any_discarded = end != 0 && end != PL_UNKNOWN;
  s.reread.active = true;
  s.reread.end = end;
  s.read_to = any_discarded ? end : 0;
  if (!any_discarded) end_reread(s);
}

void evaluator::end_reread(stream_state& s) {
  auto& reread = s.reread;
  reread.active = false;
  const auto is_read = [&](std::uint64_t position) { return position == PL_UNKNOWN || position < reread.end; };
  std::vector<key_node*> timed;
  for (const auto& [n, later] : s.later)
    if (is_read(later.position)) timed.push_back(keys_.find(s, n->key()));
  for (auto* n : timed) replace_by_timer(s, *n);
  std::map<std::string, published_record, std::less<>> known;
  for (auto at = reread.published.begin(); at != reread.published.end();)
    if (const auto here = at++; is_read(here->second.position)) known.insert(reread.published.extract(here));
  for (const auto& [key, published] : known) reconcile(s, node(s, key), published.alerts, true);
  s.keys.for_each([&](key_node& n) {
    if (!n.states || known.contains(n.key())) return;
    if (!reread.published.contains(n.key())) return reconcile(s, n, {}, true);
    if (reconciler(rules_, keys_, events_).withdraw_new(s, n)) keys_.note_change(s, n);
  });
}

// Records from the end of the discarded output on: their events are published again, unless the rules have changed.
void evaluator::apply_published(stream_state& s, key_node& n, const record& r, bool is_read) {
  if (s.reread.active) return;
  const auto at = s.reread.published.find(n.key());
  if (at == s.reread.published.end()) return;
  const auto position = at->second.position;
  if (is_read ? r.position < position : r.position <= position) return;
  const auto known = std::move(s.reread.published.extract(at).mapped());
  reconcile(s, n, known.alerts, false);
}

// Records that the published alerts include may no longer reach this node.
void evaluator::apply_published_below(stream_state& s, std::uint64_t position) {
  if (s.reread.active) return;
  for (auto at = s.reread.published.begin(); at != s.reread.published.end();) {
    const auto here = at++;
    if (here->second.position >= position) continue;
    const auto known = s.reread.published.extract(here);
    reconcile(s, node(s, known.key()), known.mapped().alerts, false);
  }
}

void evaluator::reconcile(stream_state& s, key_node& n, const alerts_record& published, bool discarded) {
  events_.count_alerts(n, -1);
  const bool changed = reconciler(rules_, keys_, events_).key(s, n, published, discarded);
  events_.count_alerts(n, 1);
  if (changed || n.published_stored) keys_.note_change(s, n);
  if (!changed) return;
  reconciled_ = true;
  if (silences_.any()) silences_.schedule(s, n);
  if (needs_settling(n)) s.to_settle.emplace_back(n.key());
}

bool evaluator::needs_settling(const key_node& n) const {
  return n.states && std::ranges::any_of(*n.states, [this](const rule_state& state) {
           if (!state.alerts.alert) return false;
           const auto& r = rules_.rules[state.rule];
           if (r.retired != end_reason::none) return true;
           const bool changed = state.recheck || state.alerts.alert->published_level == published_otherwise;
           return r.when == condition::silence && changed;
         });
}

// Resolve and change alerts as the current rules require. Alerts on values wait for the next reading instead.
void evaluator::settle(stream_state& s, bool clock_is_known) {
  end_foreign(s);
  for (const auto& key : std::exchange(s.to_settle, {})) {
    auto* n = keys_.find(s, key);
    if (n == nullptr) continue;
    if (n->rereading) {
      s.to_settle.push_back(key);
      continue;
    }
    end_retired(s, *n);
    if (clock_is_known) {
      silences_.reevaluate(s, *n);
      silences_.schedule(s, *n);
      keys_.note_change(s, *n);
    } else if (needs_settling(*n)) {
      s.to_settle.push_back(key);
    }
  }
}

void evaluator::end_retired(stream_state& s, key_node& n) {
  if (!n.states) return;
  for (auto& state : *n.states) {
    const auto& r = rules_.rules[state.rule];
    if (r.retired == end_reason::none || !state.alerts.alert) continue;
    const auto text = end_text(r, device_text(n.key(), cells_), text_of(r.retired));
    if (r.when == condition::silence) ++n.silences_ended;
    events_.raise_end(s, n.key(), state.rule, *state.alerts.alert, {wall_, n.position, text, false});
    state.alerts = {};  // stays until the next snapshot, so that the alert is not restored from the last one
    keys_.note_change(s, n);
  }
}

void evaluator::end_foreign(stream_state& s) {
  for (const auto& f : std::exchange(s.foreign, {})) {
    for (const auto& [rule, alert] : f.alerts)
      events_.raise_end(s, f.key, rule, alert,
                        {wall_, PL_UNKNOWN, end_text(rules_.rules[rule], f.device, f.why), true});
    if (f.stored.entries.any()) s.removed.push_back(f.stored);
  }
}

void evaluator::drop(std::string_view name) {
  auto* s = keys_.find_stream(name);
  if (s == nullptr) return;
  s->keys.for_each([this](const key_node& n) { events_.count_alerts(n, -1); });
  for (const auto& f : s->foreign)
    for (const auto& [rule, alert] : f.alerts) events_.count_alert(rule, -1);
  keys_.drop_stream(name);
}

}  // namespace threshold_alert
