// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <utility>

namespace threshold_alert {

pl::result<void> memory::restore(std::string_view stream, std::string_view name, std::string_view value) {
  if (name.empty()) return {};
  const std::string key(name.substr(1));
  auto& keys = restoring_[std::string(stream)];
  switch (static_cast<record>(name.front())) {
    case record::stream: {
      const auto decoded = decode_stream(value);
      if (!decoded.ok()) return decoded.why();
      evaluator_.stream(stream).greatest = decoded.value().greatest;
      return {};
    }
    case record::trace:
      keys[key].trace = value;
      return {};
    case record::alerts:
      keys[key].alerts = value;
      return {};
    case record::timer_trace:
      keys[key].timer_trace = value;
      return {};
    case record::timer_alerts:
      keys[key].timer_alerts = value;
      return {};
  }
  return {};  // of a later version
}

pl::result<void> memory::restored(std::string_view stream, bool moved) {
  auto& s = evaluator_.stream(stream);
  const auto at = restoring_.find(stream);
  if (at == restoring_.end()) return {};
  for (const auto& [key, records] : at->second)
    if (auto r = restore_key(s, key, records, moved); !r.ok()) return r;
  restoring_.erase(at);
  return {};
}

pl::result<void> memory::restore_key(evaluator::stream_state& s, std::string_view key, const found& records,
                                     bool moved) {
  const bool by_timer = !records.timer_trace.empty();
  const auto trace = decode_trace(by_timer ? records.timer_trace : records.trace);
  if (!trace.ok()) return trace.why();
  const auto& kept = by_timer ? records.timer_alerts : records.alerts;
  const auto alerts = kept.empty() ? pl::result<alerts_record>(alerts_record{}) : decode_alerts(kept);
  if (!alerts.ok()) return alerts.why();
  auto& n = evaluator_.node(s, key);
  threshold_alert::restore(rules_, trace.value(), alerts.value(), n);
  // Records come again from the last snapshot on. What a timer put is newer than that: it has seen some of them.
  n.reread = by_timer && n.position != PL_UNKNOWN && !moved;
  n.unconfirmed = by_timer;
  n.alerts_kept = !records.alerts.empty();
  evaluator_.restored(s, n);
  if (by_timer) evaluator_.tell_again(s, n);
  return {};
}

void memory::snapshot(std::string_view stream) {
  auto& s = evaluator_.stream(stream);
  for (const auto& key : std::exchange(s.forgotten, {}))
    for (const auto what : {record::trace, record::alerts, record::timer_trace, record::timer_alerts})
      erase(stream, what, key);
  for (auto* n : std::exchange(s.changed, {})) {
    n->changed = false;
    put_key(stream, *n);
  }
  put(stream, record::stream, {}, encode(stream_record{s.greatest}));
}

void memory::put_key(std::string_view stream, key_node& n) {
  put(stream, record::trace, n.key(), encode(trace_of(rules_, n)));
  const auto alerts = alerts_of(rules_, n);
  const bool any = !alerts.entries.empty();
  if (any)
    put(stream, record::alerts, n.key(), encode(alerts));
  else if (n.alerts_kept)
    erase(stream, record::alerts, n.key());
  n.alerts_kept = any;
  if (!std::exchange(n.unconfirmed, false)) return;
  erase(stream, record::timer_trace, n.key());
  erase(stream, record::timer_alerts, n.key());
}

void memory::put_now(std::string_view stream, std::string_view key) {
  if (!ctx_.keeps_state()) return;
  auto& n = evaluator_.node(evaluator_.stream(stream), key);
  n.unconfirmed = true;
  put(stream, record::timer_trace, key, encode(trace_of(rules_, n)));
  put(stream, record::timer_alerts, key, encode(alerts_of(rules_, n)));
}

void memory::put(std::string_view stream, record what, std::string_view key, std::string_view value) {
  name_.assign(1, static_cast<char>(what)).append(key);
  ctx_.put(stream, name_, value);
}

void memory::erase(std::string_view stream, record what, std::string_view key) {
  name_.assign(1, static_cast<char>(what)).append(key);
  ctx_.erase(stream, name_);
}

}  // namespace threshold_alert
