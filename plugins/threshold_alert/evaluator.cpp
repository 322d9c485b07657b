// SPDX-License-Identifier: Apache-2.0
#include "evaluator.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>

namespace threshold_alert {
namespace {

// Rows whose memory is fetched ahead of their evaluation.
constexpr std::size_t stride = 16;

std::int64_t plus(std::int64_t time, std::int64_t duration) noexcept {  // durations are never negative
  return time > no_deadline - duration ? no_deadline : time + duration;
}
std::int64_t minus(std::int64_t time, std::int64_t duration) noexcept {
  return time < never + duration ? never : time - duration;
}
// later >= earlier. Subtracted as integers: a double can't tell nanoseconds of this century apart.
double seconds_between(std::int64_t earlier, std::int64_t later) noexcept {
  return static_cast<double>(static_cast<std::uint64_t>(later) - static_cast<std::uint64_t>(earlier)) / 1e9;
}
std::uint64_t random_seed() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}
std::uint32_t fold(std::uint64_t h) noexcept { return static_cast<std::uint32_t>(h ^ h >> 32); }

}  // namespace

evaluator::evaluator(const rule_set& rules, std::string_view pipeline, std::string_view node)
    : rules_(rules), hash_(random_seed()), open_(rules.rules.size()), watches_(rules.rules.size()) {
  id_prefix_.append(pipeline).append("\x1f").append(node).append("\x1f");
  timers_ = rules.forget_after != 0;
  for (std::size_t i = 0; i < rules.rules.size(); ++i) {
    const auto& r = rules.rules[i];
    watches_[i].when = r.when;
    watches_[i].rate = r.rate.has_value();
    if (!r.levels.empty()) {
      watches_[i].low = r.levels.front().low;
      watches_[i].high = r.levels.front().high;
    }
    timers_ |= r.when == condition::silence;
  }
}

// ------------------------------------------------------------------------------------------------------- a batch ---

void evaluator::apply(pl::batch_view in, const column_places& at) {
  events_.clear();
  key_bytes_.clear();
  enter(in, at);
  std::array<std::uint32_t, stride> rows{};
  std::size_t n = 0;
  for (const auto row : in.selection()) {
    rows[n++] = row;
    if (n == stride) run_rows(in, std::span(rows.data(), std::exchange(n, 0)));
  }
  run_rows(in, std::span(rows.data(), n));
  leave(in);
}

void evaluator::enter(pl::batch_view in, const column_places& at) {
  origins_.clear();
  for (const auto& range : in.ranges()) {
    origins_.push_back(&stream(pl::view(range.stream)));
    if (range.end == PL_UNKNOWN || range.next < range.end) origins_.back()->caught_up = false;
  }
  if (origins_.empty()) origins_.push_back(&stream({}));
  if (in.selected() == 0) return;
  time_column_ = in.column(at.time).data();
  key_columns_.clear();
  for (const auto c : at.keys) key_columns_.push_back(in.column(c).data());
  for (std::size_t i = 0; i < watches_.size(); ++i)
    watches_[i].cells = at.metric[i] ? in.column(*at.metric[i]).data() : nullptr;
}

void evaluator::leave(pl::batch_view in) {
  for (std::size_t i = 0; i < in.ranges().size(); ++i) {
    const auto& range = in.ranges()[i];
    origins_[i]->caught_up = range.end != PL_UNKNOWN && range.next >= range.end;
  }
}

// Large fleets live in main memory: what the rows need is asked for before it is needed.
void evaluator::run_rows(pl::batch_view in, std::span<const std::uint32_t> rows) {
  std::array<std::uint64_t, stride> hashes{};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    hashes[i] = hash_row(rows[i]);
    origins_[in.origin(rows[i])]->keys.prefetch_place(fold(hashes[i]));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) origins_[in.origin(rows[i])]->keys.prefetch_node(fold(hashes[i]));
  for (std::size_t i = 0; i < rows.size(); ++i) run_row(in, rows[i], hashes[i]);
}

void evaluator::run_row(pl::batch_view in, std::uint32_t row, std::uint64_t hash) {
  if (!usable_time(time_column_[row])) return;
  if (!has_key(row)) return void(++tally_.no_key);
  auto& s = *origins_[in.origin(row)];
  const record r{row, time_column_[row].as.i, in.position(row), in.stream(row)};
  if (r.time > s.greatest) {
    s.greatest = r.time;
    expire(s, r);
  }
  auto& n = find_or_insert(s, row, fold(hash));
  if (n.reread) {
    if (r.position <= n.position) return;
    n.reread = false;
  }
  if (r.time < n.newest) return void(++tally_.late);
  if (remembers_) note_change(s, n);
  const bool first = n.newest == never;
  n.newest = r.time;
  n.position = r.position;
  run_values(s, n, r);
  if (timers_) run_silences(s, n, r, first);  // last: it may forget the key
}

bool evaluator::usable_time(const pl::cell& c) {
  if (c.kind != PL_TIME_NS) return ++tally_.no_time, false;
  if (rules_.max_ahead == 0 || wall_ == never || c.as.i <= plus(wall_, rules_.max_ahead)) return true;
  return ++tally_.ahead, false;
}

// ---------------------------------------------------------------------------------------------------------- keys ---

std::uint64_t evaluator::hash_row(std::uint32_t row) const noexcept {
  auto h = hash_.start();
  for (const auto* column : key_columns_) h = key_hash::add(h, column[row]);
  return h;
}

bool evaluator::has_key(std::uint32_t row) const noexcept {
  for (const auto* column : key_columns_)
    if (pl::is_null(column[row])) return false;
  return true;
}

bool evaluator::is_key(const key_node& n, std::uint32_t row) const noexcept {
  const auto key = n.key();
  const char* p = key.data();
  for (const auto* column : key_columns_) {
    const auto& c = column[row];
    std::uint32_t size = 0;
    std::memcpy(&size, p + 1, sizeof size);
    if (static_cast<unsigned char>(*p) != c.kind) return false;
    p += 1 + sizeof size;
    const bool bytes = pl::has_bytes(c);
    if (size != (bytes ? c.len : sizeof c.as.i)) return false;
    if (size != 0 && std::memcmp(p, bytes ? c.as.p : reinterpret_cast<const char*>(&c.as.i), size) != 0) return false;
    p += size;
  }
  return true;
}

key_node& evaluator::find_or_insert(stream_state& s, std::uint32_t row, std::uint32_t hash) {
  if (auto* n = s.keys.find(hash, [&](const key_node& candidate) { return is_key(candidate, row); })) return *n;
  scratch_.clear();
  for (const auto* column : key_columns_) append_key(scratch_, column[row]);
  auto& n = s.keys.insert(hash, scratch_);
  start_key(n);
  return n;
}

void evaluator::note_change(stream_state& s, key_node& n) {
  if (!n.changed) s.changed.push_back(&n);
  n.changed = true;
}

void evaluator::forget(stream_state& s, key_node& n) {
  if (remembers_) s.forgotten.emplace_back(n.key());
  if (n.changed) std::erase(s.changed, &n);
  s.deadlines.remove(n);
  s.keys.erase(n);
}

void evaluator::start_key(key_node& n) { n.scope = scope_of(n.key()); }

std::uint16_t evaluator::scope_of(std::string_view key) {
  unpack_key(key, cells_);
  scope fresh;
  for (std::uint32_t i = 0; i < rules_.rules.size(); ++i) {
    const auto& r = rules_.rules[i];
    const bool accepted = std::all_of(r.match.begin(), r.match.end(), [&](const pattern& p) {
      return pl::has_bytes(cells_[p.key]) && p.accepts.matches(pl::bytes_of(cells_[p.key]));
    });
    fresh.accepted.push_back(accepted);
    if (!accepted) continue;
    (r.when == condition::silence ? fresh.silences : fresh.values).push_back(i);
    if (r.when == condition::silence && !r.slot)
      fresh.shortest_silence = std::min(fresh.shortest_silence, r.levels.front().missing_for);
  }
  for (std::size_t i = 0; i < scopes_.size(); ++i)
    if (scopes_[i].accepted == fresh.accepted) return static_cast<std::uint16_t>(i);
  if (scopes_.size() > UINT16_MAX)
    throw std::runtime_error(
        "the rules' match patterns split the devices into more than 65,536 sets; use fewer patterns");
  scopes_.push_back(std::move(fresh));
  return static_cast<std::uint16_t>(scopes_.size() - 1);
}

// -------------------------------------------------------------------------------------------------------- values ---

void evaluator::run_values(stream_state& s, key_node& n, const record& r) {
  for (const auto rule : scopes_[n.scope].values) {
    const auto& w = watches_[rule];
    if (w.cells == nullptr) continue;
    const auto& c = w.cells[r.row];
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
      if (number >= w.low && number <= w.high && !n.states) continue;
    }
    run_value(s, n, rule, w.rate ? pl::real_cell(number) : c, number, r);
  }
}

// The reading before stays the reference until a later one is far enough away.
bool evaluator::take_rate(const rule& r, key_node& n, double& value, const record& now) {
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

void evaluator::run_value(stream_state& s, key_node& n, std::uint32_t rule, const pl::cell& value, double number,
                          const record& r) {
  const auto& what = rules_.rules[rule];
  const auto verdict = what.when == condition::equals ? judge(what, value) : judge(what, number);
  auto* state = n.find(rule);
  if (state == nullptr && verdict.breached < 0) return;
  if (state == nullptr) state = &state_of(n, rule);
  moment now{r.time, r.time, oldest()};
  const auto level = debounce(what, *state, verdict, r.time, now.began);
  settle_rule(s, n, rule, *state, level, now, value, r);
  drop_blank(n, rule, r.time);
}

void evaluator::settle_rule(stream_state& s, key_node& n, std::uint32_t rule, rule_state& state, std::int32_t level,
                            const moment& now, const pl::cell& value, const record& r) {
  auto told = step(rules_.rules[rule], state.alerts, level, now);
  if (!told) return;
  if (told->opens) told->alert.id = state.alerts.alert->id = make_id(s, n, rule, now.time, n.position);
  tell(s, n, rule, *std::move(told), now.time, value, n.position, r);
}

rule_state& evaluator::state_of(key_node& n, std::uint32_t rule) {
  if (auto* known = n.find(rule)) return *known;
  if (!n.states) n.states = std::make_unique<std::vector<rule_state>>();
  auto& fresh = n.states->emplace_back();
  fresh.rule = rule;
  if (rules_.rules[rule].when != condition::silence) fresh.runs.resize(rules_.rules[rule].levels.size());
  return fresh;
}

void evaluator::drop_blank(key_node& n, std::uint32_t rule, std::int64_t now) {
  const auto window = minus(now, rules_.rules[rule].flap_within);
  std::erase_if(*n.states, [&](const rule_state& s) { return s.rule == rule && s.blank(window); });
  if (n.states->empty()) n.states.reset();
}

// ------------------------------------------------------------------------------------------------------- silence ---

std::int64_t evaluator::clock(const stream_state& s) const noexcept {
  return s.caught_up ? std::max(s.greatest, tick_wall_) : s.greatest;
}

std::int64_t evaluator::last_seen(const rule& r, const key_node& n) const noexcept {
  return r.slot ? n.slot(*r.slot).time : n.newest;
}

void evaluator::run_silences(stream_state& s, key_node& n, const record& r, bool first) {
  const auto& sc = scopes_[n.scope];
  const auto now = clock(s);
  bool reschedule = first || n.queued_at == not_queued;
  for (const auto rule : sc.silences) {
    const auto& what = rules_.rules[rule];
    auto seen = r.time;
    if (what.slot) {
      const auto* cells = watches_[rule].cells;
      if (cells == nullptr || pl::is_null(cells[r.row])) continue;
      auto& slot = n.slot(*what.slot);
      reschedule |= slot.time == never || plus(r.time, what.levels.front().missing_for) < now;
      seen = std::exchange(slot.time, r.time);
      slot.position = r.position;
    }
    auto* state = n.find(rule);
    if (state == nullptr) continue;
    const bool back = plus(r.time, what.levels.front().missing_for) >= now;
    if (!back) continue;  // a record from the past: by the stream's time the device is silent still
    reschedule = true;
    const auto since = state->alerts.alert ? state->alerts.alert->since : seen;
    settle_rule(s, n, rule, *state, -1, {r.time, r.time, oldest()}, pl::real_cell(seconds_between(since, r.time)), r);
    drop_blank(n, rule, r.time);
  }
  if (plus(r.time, sc.shortest_silence) < now) reschedule = true;
  if (!reschedule) return;
  const auto due = next_deadline(n);
  s.deadlines.set(n, due);
  if (due < now) expire(s, r);
}

// Open alerts come up again to be repeated; or, where they were too old to be published, to see whether they still are.
std::int64_t evaluator::poll_interval(const rule& r, const open_alert& a) const noexcept {
  return a.told != a.level && rules_.max_age != 0 ? rules_.max_age : r.repeat_interval;
}

std::int64_t evaluator::silence_deadline(std::uint32_t rule, key_node& n) const noexcept {
  const auto& r = rules_.rules[rule];
  const auto seen = last_seen(r, n);
  if (seen == never) return no_deadline;
  const auto* state = n.find(rule);
  const auto next = static_cast<std::size_t>(state == nullptr ? 0 : state->alerts.level + 1);
  auto due = next < r.levels.size() ? plus(seen, r.levels[next].missing_for) : no_deadline;
  if (state == nullptr || !state->alerts.alert) return due;
  const auto& a = *state->alerts.alert;
  if (const auto interval = poll_interval(r, a); interval != 0) due = std::min(due, plus(a.notified, interval));
  if (a.flapping) due = std::min(due, plus(state->alerts.last_flip, r.flap_within));
  return due;
}

bool evaluator::forgettable(const key_node& n) const noexcept {
  if (rules_.forget_after == 0) return false;
  if (!n.states) return true;
  return std::none_of(n.states->begin(), n.states->end(),
                      [](const rule_state& s) { return s.alerts.alert.has_value(); });
}

std::int64_t evaluator::next_deadline(key_node& n) const noexcept {
  auto due = forgettable(n) ? plus(n.newest, rules_.forget_after) : no_deadline;
  for (const auto rule : scopes_[n.scope].silences) due = std::min(due, silence_deadline(rule, n));
  return due;
}

// Everything that was due before the stream's present, in the order of time.
void evaluator::expire(stream_state& s, const record& cause) {
  const auto now = clock(s);
  while (!s.deadlines.empty() && s.deadlines.front().due < now) {
    const auto [queued, node] = s.deadlines.front();
    const auto due = next_deadline(*node);
    if (due > queued)
      s.deadlines.set(*node, due);  // records came meanwhile
    else
      expire_key(s, *node, due, now, cause);
  }
}

void evaluator::expire_key(stream_state& s, key_node& n, std::int64_t due, std::int64_t now, const record& cause) {
  for (const auto rule : scopes_[n.scope].silences)
    if (silence_deadline(rule, n) <= due) expire_silence(s, n, rule, due, now, cause);
  if (forgettable(n) && plus(n.newest, rules_.forget_after) <= due) {
    forget(s, n);
    return;
  }
  if (remembers_) note_change(s, n);
  s.deadlines.set(n, next_deadline(n));
}

void evaluator::expire_silence(stream_state& s, key_node& n, std::uint32_t rule, std::int64_t due, std::int64_t now,
                               const record& cause) {
  const auto& r = rules_.rules[rule];
  auto& state = state_of(n, rule);
  const auto seen = last_seen(r, n);
  auto level = state.alerts.level;
  const auto next = static_cast<std::size_t>(std::int64_t{level} + 1);
  moment when{due, seen, oldest()};
  if (next < r.levels.size() && plus(seen, r.levels[next].missing_for) <= due) {
    ++level;
  } else if (const auto interval = poll_interval(r, *state.alerts.alert); interval != 0 && due < now) {
    // After a leap of the stream's time the last of the repeats that were due stands for all of them.
    const auto whole = static_cast<std::uint64_t>(now - 1) - static_cast<std::uint64_t>(due);
    if (plus(state.alerts.alert->notified, interval) == due)
      when.time += static_cast<std::int64_t>(whole / static_cast<std::uint64_t>(interval)) * interval;
  }
  const auto position = r.slot ? n.slot(*r.slot).position : n.position;
  auto told = step(r, state.alerts, level, when);
  if (told) {
    if (told->opens) told->alert.id = state.alerts.alert->id = make_id(s, n, rule, when.time, position);
    const auto silent_since = told->closes ? told->alert.since : seen;
    tell(s, n, rule, *std::move(told), when.time, pl::real_cell(seconds_between(silent_since, when.time)), position,
         cause);
  }
  drop_blank(n, rule, when.time);
}

void evaluator::tick(std::int64_t wall) {
  events_.clear();
  key_bytes_.clear();
  wall_ = tick_wall_ = wall;
  for (const auto& [name, key] : std::exchange(again_, {}))
    if (const auto s = streams_.find(name); s != streams_.end()) repeat(*s->second, node(*s->second, key));
  for (auto& [name, s] : streams_)
    if (s->caught_up) expire(*s, record{.stream = name});
}

void evaluator::repeat(stream_state& s, key_node& n) {
  for (const auto rule : scopes_[n.scope].silences) {
    const auto* state = n.find(rule);
    if (state == nullptr || !state->alerts.alert) continue;
    const auto& a = *state->alerts.alert;
    notice what{a.flapping ? event_kind::flapping : event_kind::firing, a.level, false, false, a.told >= 0, a};
    const auto& r = rules_.rules[rule];
    tell(s, n, rule, std::move(what), a.notified, pl::real_cell(seconds_between(last_seen(r, n), a.notified)),
         r.slot ? n.slot(*r.slot).position : n.position, record{.stream = s.name});
  }
}

// ------------------------------------------------------------------------------------------------ streams, events ---

evaluator::stream_state& evaluator::stream(std::string_view name) {
  const auto known = streams_.find(name);
  if (known != streams_.end()) return *known->second;
  auto fresh = std::make_unique<stream_state>(rules_.slots);
  fresh->name = name;
  return *streams_.emplace(name, std::move(fresh)).first->second;
}

key_node& evaluator::node(stream_state& s, std::string_view key) {
  unpack_key(key, cells_);
  auto h = hash_.start();
  for (const auto& c : cells_) h = key_hash::add(h, c);
  if (auto* known = s.keys.find(fold(h), key)) return *known;
  auto& n = s.keys.insert(fold(h), key);
  start_key(n);
  return n;
}

void evaluator::restored(stream_state& s, key_node& n) {
  if (n.states) {
    const auto& accepted = scopes_[n.scope].accepted;  // the patterns may have changed since
    std::erase_if(*n.states, [&](const rule_state& state) { return !accepted[state.rule]; });
    for (const auto& state : *n.states) open_[state.rule] += state.alerts.alert.has_value() ? 1 : 0;
    if (n.states->empty()) n.states.reset();
  }
  if (timers_) s.deadlines.set(n, next_deadline(n));
}

void evaluator::drop(std::string_view name) {
  const auto s = streams_.find(name);
  if (s == streams_.end()) return;
  s->second->keys.for_each([this](const key_node& n) {
    if (!n.states) return;
    for (const auto& state : *n.states) open_[state.rule] -= state.alerts.alert.has_value() ? 1 : 0;
  });
  streams_.erase(s);
}

std::size_t evaluator::keys() const noexcept {
  std::size_t n = 0;
  for (const auto& [name, s] : streams_) n += s->keys.size();
  return n;
}

std::size_t evaluator::bytes() const noexcept {
  std::size_t n = 0;
  for (const auto& [name, s] : streams_) n += s->keys.bytes() + s->deadlines.bytes();
  return n;
}

std::int64_t evaluator::oldest() const noexcept {
  return rules_.max_age == 0 || wall_ == never ? never : minus(wall_, rules_.max_age);
}

// Rows without a position (merged, or made by a timer) go by their time instead.
uuid evaluator::make_id(const stream_state& s, const key_node& n, std::uint32_t rule, std::int64_t time,
                        std::uint64_t position) {
  auto name = id_prefix_;
  name.append(rules_.rules[rule].name).append("\x1f").append(s.name).append("\x1f");
  name += position == PL_UNKNOWN ? "t" + std::to_string(time) : std::to_string(position);
  unpack_key(n.key(), cells_);
  for (const auto& c : cells_) {
    name.push_back('\x1f');
    if (pl::has_bytes(c))
      name += pl::bytes_of(c);
    else
      name += std::to_string(c.as.i);
  }
  return uuid5(alert_name_space(), name);
}

void evaluator::tell(const stream_state& s, key_node& n, std::uint32_t rule, notice what, std::int64_t time,
                     const pl::cell& value, std::uint64_t position, const record& cause) {
  if (what.opens) ++open_[rule];
  if (what.closes) --open_[rule];
  const auto& r = rules_.rules[rule];
  const auto& l = r.levels[static_cast<std::size_t>(what.level)];
  event e{cause.row,
          rule,
          std::move(what),
          value,
          pl::null_cell(),
          time,
          cause.row == no_row ? s.name : cause.stream,
          position,
          key_bytes_.size(),
          n.key().size()};
  switch (r.when) {
    case condition::above:
      e.threshold = pl::real_cell(l.high);
      break;
    case condition::below:
      e.threshold = pl::real_cell(l.low);
      break;
    case condition::outside: {
      const auto v = pl::number_of(value).value_or(0);
      e.threshold = pl::real_cell(v - l.low < l.high - v ? l.low : l.high);  // the bound that is nearer, or was passed
      break;
    }
    case condition::silence:
      e.threshold = pl::real_cell(static_cast<double>(l.missing_for) / 1e9);
      break;
    case condition::equals:
      if (const auto* t = std::get_if<std::string>(&l.equals))
        e.threshold = pl::text_cell(*t);
      else if (const auto* b = std::get_if<bool>(&l.equals))
        e.threshold = pl::bool_cell(*b);
      else if (const auto* i = std::get_if<std::int64_t>(&l.equals))
        e.threshold = pl::int_cell(*i);
      else if (const auto* d = std::get_if<double>(&l.equals))
        e.threshold = pl::real_cell(*d);
  }
  key_bytes_ += n.key();
  events_.push_back(std::move(e));
}

}  // namespace threshold_alert
