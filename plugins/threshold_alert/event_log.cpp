// SPDX-License-Identifier: Apache-2.0
#include "event_log.hpp"

#include "message.hpp"
#include "retired_rules.hpp"

#include <utility>
#include <variant>

namespace threshold_alert {
namespace {

pl::cell cell_of(const pl::scalar& s) {
  if (const auto* t = std::get_if<std::string>(&s)) return pl::text_cell(*t);
  if (const auto* b = std::get_if<bool>(&s)) return pl::bool_cell(*b);
  if (const auto* i = std::get_if<std::int64_t>(&s)) return pl::int_cell(*i);
  if (const auto* d = std::get_if<double>(&s)) return pl::real_cell(*d);
  return pl::null_cell();
}

// limits: of the level.
pl::cell threshold_of(const rule& r, const level& l, const bounds& limits, const pl::cell& value) {
  if (r.retired != end_reason::none) return pl::null_cell();
  switch (r.when) {
    case condition::above:
      return pl::real_cell(limits.high);
    case condition::below:
      return pl::real_cell(limits.low);
    case condition::outside: {
      const auto v = pl::number_of(value).value_or(0);
      // The bound that was passed, or the nearer one.
      return pl::real_cell(v - limits.low < limits.high - v ? limits.low : limits.high);
    }
    case condition::silence:
      return pl::real_cell(static_cast<double>(l.missing_for) / 1e9);
    case condition::equals:
      return cell_of(l.equals);
    case condition::expression:
      break;
  }
  return pl::null_cell();
}

}  // namespace

event_log::event_log(const rule_set& rules, std::string_view pipeline, std::string_view node)
    : rules_(rules), open_(rules.rules.size()) {
  id_prefix_.append(pipeline).append("\x1f").append(node).append("\x1f");
}

void event_log::clear() noexcept {
  events_.clear();
  keys_.clear();
}

// Set the key pointers of the events. Until now each event held only its key's size, because keys_ could be
// reallocated.
std::span<const event> event_log::finish() noexcept {
  std::size_t at = 0;
  for (auto& e : events_) {
    e.key = {keys_.data() + at, e.key.size()};
    at += e.key.size();
  }
  return events_;
}

void event_log::raise(const stream_state& s, const key_node& n, std::uint32_t rule, alert_state& state, notice what,
                      const occasion& at) {
  if (what.opens) {
    what.alert.id = state.alert->id = make_id(s, n, rule, at.time, at.position);
    count_alert(rule, 1);
  }
  if (what.closes) count_alert(rule, -1);
  if (state.alert) state.alert->value = pl::number_of(at.value);
  const auto& r = rules_.rules[rule];
  const auto index = static_cast<std::size_t>(what.level);
  const auto& level = r.levels[index];
  const auto threshold = threshold_of(r, level, index < at.limits.size() ? at.limits[index] : level, at.value);
  const std::string_view stream = at.cause.row == no_row ? s.name : at.cause.stream;
  keys_ += n.key();
  auto& e = events_.emplace_back(event{at.cause.row, rule, std::move(what), at.value, threshold, at.time, stream,
                                       at.position, n.key(), at.breached});
  if (at.why_ended != end_reason::none) e.text = end_text(r, device_text(n.key(), cells_), text_of(at.why_ended));
}

void event_log::raise_end(const stream_state& s, std::string_view key, std::uint32_t rule, const open_alert& a,
                          const ending& at) {
  count_alert(rule, -1);
  const bool publish = a.published_level != unpublished && rules_.rules[rule].send_resolved;
  keys_ += key;
  events_.push_back({no_row, rule, notice{event_kind::resolved, a.level, false, true, publish, a}, pl::null_cell(),
                     pl::null_cell(), at.time, s.name, at.position, key, true, at.foreign, at.text});
}

std::int64_t event_log::open_alerts(std::string_view name) const noexcept {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < open_.size(); ++i)
    if (rules_.rules[i].name == name) n += open_[i];
  return n;
}

void event_log::count_alerts(const key_node& n, int sign) {
  if (!n.states) return;
  for (const auto& state : *n.states)
    if (state.alerts.alert) count_alert(state.rule, sign);
}

void event_log::count_alert(std::uint32_t rule, int sign) {
  if (rule >= open_.size()) open_.resize(rules_.rules.size());  // rules were retired
  open_[rule] += sign;
}

// Return the id of an alert. A row without a position (merged, or made by a timer) is identified by its time instead.
// A silence is identified by its last record, by missing_for, and by the number of silences that changes of the
// configuration have ended: without another record, the device can become silent again.
uuid event_log::make_id(const stream_state& s, const key_node& n, std::uint32_t rule, std::int64_t time,
                        std::uint64_t position) const {
  auto name = id_prefix_;
  name.append(rules_.rules[rule].name).append("\x1f").append(s.name).append("\x1f");
  name += position == PL_UNKNOWN ? "t" + std::to_string(time) : std::to_string(position);
  const auto& r = rules_.rules[rule];
  if (r.when == condition::silence) name.append("\x1f").append(std::to_string(r.levels.front().missing_for));
  if (r.when == condition::silence && n.silences_ended != 0)
    name.append("\x1f").append(std::to_string(n.silences_ended));
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

}  // namespace threshold_alert
