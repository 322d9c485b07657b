// SPDX-License-Identifier: Apache-2.0
#include "codec.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

namespace threshold_alert {
namespace {

class writer {
 public:
  writer() { bytes_.push_back(static_cast<char>(state_version)); }
  void number(std::uint64_t v) {  // LEB128
    for (; v >= 0x80; v >>= 7) bytes_.push_back(static_cast<char>(v | 0x80));
    bytes_.push_back(static_cast<char>(v));
  }
  void signed_number(std::int64_t v) {
    number(static_cast<std::uint64_t>(v) << 1 ^ static_cast<std::uint64_t>(v >> 63));
  }
  void fixed(std::uint64_t v) {
    for (int i = 0; i < 8; ++i) bytes_.push_back(static_cast<char>(v >> 8 * i));
  }
  void raw(const uuid& id) { bytes_.append(id.begin(), id.end()); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what writer wrote. Bytes that are none of it make it bad(), never anything worse.
class reader {
 public:
  explicit reader(std::string_view bytes) : left_(bytes) {
    version_ = left_.empty() ? 0 : static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(left_.empty() ? 0 : 1);
  }
  std::uint64_t number() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto b = byte();
      v |= static_cast<std::uint64_t>(b & 0x7F) << shift;
      if ((b & 0x80) == 0) return v;
    }
    bad_ = true;
    return 0;
  }
  std::int64_t signed_number() {
    const auto v = number();
    return static_cast<std::int64_t>(v >> 1 ^ (~(v & 1) + 1));
  }
  std::uint64_t fixed() {
    std::uint64_t v = 0;
    for (int i = 0; i < 8; ++i) v |= static_cast<std::uint64_t>(byte()) << 8 * i;
    return v;
  }
  uuid raw() {
    uuid id{};
    for (auto& b : id) b = byte();
    return id;
  }
  // A count of elements, each of which takes at least one byte: a wrong one can't make us allocate the world.
  std::size_t count() {
    const auto n = number();
    if (n > left_.size()) bad_ = true;
    return bad_ ? 0 : static_cast<std::size_t>(n);
  }
  [[nodiscard]] bool bad() const noexcept { return bad_; }

  template <class T>
  pl::result<T> finish(T value, std::string_view what) {
    const std::string name(what);
    if (version_ != state_version)
      return pl::fatal("the stored " + name + " of threshold_alert has version " + std::to_string(version_) +
                       ", and this plugin reads version " + std::to_string(state_version) +
                       "; use the version of the plugin that wrote it, or drop the stored state");
    if (bad_ || !left_.empty())
      return pl::fatal("the stored " + name + " of threshold_alert is damaged (" +
                       (bad_ ? "cut short" : std::to_string(left_.size()) + " bytes too long") +
                       "); drop it: its devices are then seen as new");
    return value;
  }
  [[nodiscard]] bool readable() const noexcept { return version_ == state_version; }

 private:
  std::uint8_t byte() {
    if (left_.empty()) return bad_ = true, std::uint8_t{0};
    const auto b = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    return b;
  }
  std::string_view left_;
  std::uint8_t version_ = 0;
  bool bad_ = false;
};

void write_alert(writer& w, const open_alert& a) {
  w.raw(a.id);
  w.signed_number(a.since);
  w.signed_number(a.notified);
  w.signed_number(a.level);
  w.signed_number(a.told);
  w.number(a.flapping ? 1 : 0);
}

open_alert read_alert(reader& r) {
  open_alert a;
  a.id = r.raw();
  a.since = r.signed_number();
  a.notified = r.signed_number();
  a.level = static_cast<std::int32_t>(r.signed_number());
  a.told = static_cast<std::int32_t>(r.signed_number());
  a.flapping = r.number() != 0;
  return a;
}

std::optional<std::uint32_t> find_rule(const rule_set& rules, std::uint64_t fingerprint) {
  for (std::uint32_t i = 0; i < rules.rules.size(); ++i)
    if (rules.rules[i].fingerprint == fingerprint) return i;
  return std::nullopt;
}

rule_state& state_of(key_node& n, std::uint32_t rule, const rule_set& rules) {
  if (auto* known = n.find(rule)) return *known;
  if (!n.states) n.states = std::make_unique<std::vector<rule_state>>();
  auto& fresh = n.states->emplace_back();
  fresh.rule = rule;
  if (rules.rules[rule].when != condition::silence) fresh.runs.resize(rules.rules[rule].levels.size());
  return fresh;
}

}  // namespace

std::string encode(const trace_record& r) {
  writer w;
  w.signed_number(r.newest);
  w.number(r.position + 1);  // PL_UNKNOWN becomes 0
  w.number(r.slots.size());
  for (const auto& s : r.slots) {
    w.fixed(s.rule);
    w.signed_number(s.time);
    w.fixed(s.bits);
  }
  w.number(r.runs.size());
  for (const auto& p : r.runs) {
    w.fixed(p.rule);
    w.number(p.runs.size());
    for (const auto& run : p.runs) {
      w.signed_number(run.since);
      w.number(run.readings);
    }
  }
  return w.take();
}

pl::result<trace_record> decode_trace(std::string_view bytes) {
  reader r(bytes);
  trace_record t;
  if (!r.readable()) return r.finish(t, "trace");
  t.newest = r.signed_number();
  t.position = r.number() - 1;
  t.slots.resize(r.count());
  for (auto& s : t.slots) {
    s.rule = r.fixed();
    s.time = r.signed_number();
    s.bits = r.fixed();
  }
  t.runs.resize(r.count());
  for (auto& p : t.runs) {
    p.rule = r.fixed();
    p.runs.resize(r.count());
    for (auto& run : p.runs) {
      run.since = r.signed_number();
      run.readings = static_cast<std::uint32_t>(r.number());
    }
  }
  return r.finish(std::move(t), "trace");
}

std::string encode(const alerts_record& r) {
  writer w;
  w.number(r.entries.size());
  for (const auto& e : r.entries) {
    w.fixed(e.rule);
    w.signed_number(e.state.level);
    w.signed_number(e.state.last_flip);
    w.number(e.state.fired.size());
    for (const auto t : e.state.fired) w.signed_number(t);
    w.number(e.state.alert ? 1 : 0);
    if (e.state.alert) write_alert(w, *e.state.alert);
  }
  return w.take();
}

pl::result<alerts_record> decode_alerts(std::string_view bytes) {
  reader r(bytes);
  alerts_record a;
  if (!r.readable()) return r.finish(a, "alerts");
  a.entries.resize(r.count());
  for (auto& e : a.entries) {
    e.rule = r.fixed();
    e.state.level = static_cast<std::int32_t>(r.signed_number());
    e.state.last_flip = r.signed_number();
    e.state.fired.resize(r.count());
    for (auto& t : e.state.fired) t = r.signed_number();
    if (r.number() != 0) e.state.alert = read_alert(r);
  }
  return r.finish(std::move(a), "alerts");
}

std::string encode(const stream_record& r) {
  writer w;
  w.signed_number(r.greatest);
  return w.take();
}

pl::result<stream_record> decode_stream(std::string_view bytes) {
  reader r(bytes);
  stream_record s;
  if (r.readable()) s.greatest = r.signed_number();
  return r.finish(s, "stream");
}

trace_record trace_of(const rule_set& rules, const key_node& n) {
  trace_record t;
  t.newest = n.newest;
  t.position = n.position;
  for (const auto& r : rules.rules) {
    if (!r.slot || n.slot(*r.slot).time == never) continue;
    const auto& s = n.slot(*r.slot);
    t.slots.push_back({r.fingerprint, s.time, r.rate ? std::bit_cast<std::uint64_t>(s.value) : s.position});
  }
  if (n.states)
    for (const auto& s : *n.states)
      if (!s.runs.empty()) t.runs.push_back({rules.rules[s.rule].fingerprint, s.runs});
  return t;
}

alerts_record alerts_of(const rule_set& rules, const key_node& n) {
  alerts_record a;
  if (n.states)
    for (const auto& s : *n.states)
      if (s.alerts != alert_state{}) a.entries.push_back({rules.rules[s.rule].fingerprint, s.alerts});
  return a;
}

void restore(const rule_set& rules, const trace_record& trace, const alerts_record& alerts, key_node& n) {
  n.newest = trace.newest;
  n.position = trace.position;
  for (const auto& s : trace.slots) {
    const auto rule = find_rule(rules, s.rule);
    if (!rule || !rules.rules[*rule].slot) continue;
    auto& to = n.slot(*rules.rules[*rule].slot);
    to.time = s.time;
    if (rules.rules[*rule].rate)
      to.value = std::bit_cast<double>(s.bits);
    else
      to.position = s.bits;
  }
  for (const auto& p : trace.runs) {
    const auto rule = find_rule(rules, p.rule);
    if (!rule || rules.rules[*rule].levels.size() != p.runs.size()) continue;  // other levels: the count starts again
    if (rules.rules[*rule].when != condition::silence) state_of(n, *rule, rules).runs = p.runs;
  }
  for (const auto& e : alerts.entries) {
    const auto rule = find_rule(rules, e.rule);
    if (!rule) continue;
    const auto top = static_cast<std::int32_t>(rules.rules[*rule].levels.size()) - 1;
    auto& to = state_of(n, *rule, rules).alerts;
    to = e.state;
    to.level = std::clamp(to.level, -1, top);
    if (!to.alert) continue;
    to.alert->level = std::clamp(to.alert->level, 0, top);
    to.alert->told = std::clamp(to.alert->told, -1, top);
  }
}

}  // namespace threshold_alert
