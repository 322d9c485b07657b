// SPDX-License-Identifier: Apache-2.0
#include "codec.hpp"

#include "rule_identity.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

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
  void text(std::string_view t) {
    number(t.size());
    bytes_ += t;
  }
  std::string take() { return std::move(bytes_); }
  // Write bytes that often begin like the ones before.
  void similar(std::string_view bytes, std::string_view before) {
    const auto end = std::ranges::mismatch(bytes, before).in1;
    const auto shared = static_cast<std::size_t>(end - bytes.begin());
    number(shared);
    text(bytes.substr(shared));
  }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }
  void restart() { bytes_.resize(1); }

 private:
  std::string bytes_;
};

// Parses bytes written by `writer`. Invalid bytes set bad() and have no other effect.
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
  std::uint32_t hash() { return static_cast<std::uint32_t>(number()); }
  std::string text() {
    const auto n = count();
    std::string t(left_.substr(0, n));
    left_.remove_prefix(n);
    bad_ = bad_ || !pl::is_utf8(t);
    return t;
  }
  // Replace `bytes`, which are the ones before, by the next.
  void similar(std::string& bytes) {
    const auto shared = number();
    if (shared > bytes.size()) bad_ = true;
    const auto n = count();
    if (bad_) return;
    bytes.resize(static_cast<std::size_t>(shared));
    bytes += left_.substr(0, n);
    left_.remove_prefix(n);
  }
  uuid raw() {
    uuid id{};
    for (auto& b : id) b = byte();
    return id;
  }
  // Read a count of elements. Each element takes at least one byte, which bounds the memory that a wrong count
  // allocates.
  std::size_t count() {
    const auto n = number();
    if (n > left_.size()) bad_ = true;
    return bad_ ? 0 : static_cast<std::size_t>(n);
  }
  [[nodiscard]] bool bad() const noexcept { return bad_; }
  [[nodiscard]] bool at_end() const noexcept { return bad_ || left_.empty(); }

  template <class T>
  pl::result<T> finish(T value, std::string_view what) {
    const std::string name(what);
    if (!readable())
      return pl::fatal("the stored " + name + " of threshold_alert has version " + std::to_string(version_) +
                       ", and this plugin reads versions 1 to " + std::to_string(state_version) +
                       "; use the plugin version that wrote it, or delete the stored state");
    if (bad_ || !left_.empty())
      return pl::fatal("the stored " + name + " of threshold_alert is damaged (" +
                       (bad_ ? "truncated" : std::to_string(left_.size()) + " bytes too long") +
                       "); delete it: its devices then count as new");
    return value;
  }
  [[nodiscard]] bool readable() const noexcept { return version_ >= 1 && version_ <= state_version; }
  [[nodiscard]] bool is_first_version() const noexcept { return version_ == 1; }

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

// A device's clock and the arrival clock differ little, so that their difference takes few bytes. Both wrap around.
std::int64_t difference(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}
std::int64_t sum(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

void write_alert(writer& w, const open_alert& a) {
  w.raw(a.id);
  w.signed_number(a.since);
  w.signed_number(a.notified);
  w.signed_number(a.level);
  w.signed_number(a.published_level);
  w.number((a.flapping ? 1U : 0U) | (a.value ? 2U : 0U));
  if (a.value) w.fixed(std::bit_cast<std::uint64_t>(*a.value));
}

open_alert read_alert(reader& r) {
  open_alert a;
  a.id = r.raw();
  a.since = r.signed_number();
  a.notified = r.signed_number();
  a.level = static_cast<std::int32_t>(r.signed_number());
  a.published_level = static_cast<std::int32_t>(r.signed_number());
  const auto flags = r.number();
  a.flapping = (flags & 1U) != 0;
  if ((flags & 2U) == 0) return a;
  if (const auto value = std::bit_cast<double>(r.fixed()); std::isfinite(value)) a.value = value;
  return a;
}

}  // namespace

namespace {

void write_trace(writer& w, const trace_record& r) {
  w.number(r.grouping);
  w.number((r.seen_is_reading ? 1U : 0U) | (r.silences_ended != 0 ? 2U : 0U));
  if (r.silences_ended != 0) w.number(r.silences_ended);
  w.signed_number(r.newest);
  w.signed_number(difference(r.seen, r.newest));
  w.number(r.position + 1);  // PL_UNKNOWN becomes 0
  w.number(r.slots.size());
  for (const auto& s : r.slots) {
    w.fixed(s.rule);
    w.number(s.meaning);
    w.signed_number(s.time);
    w.fixed(s.bits);
  }
  w.number(r.runs.size());
  for (const auto& p : r.runs) {
    w.fixed(p.rule);
    w.fixed(p.definition);
    w.number(p.runs.size());
    for (const auto& run : p.runs) {
      w.signed_number(run.since);
      w.number(run.readings);
    }
    w.signed_number(p.read_at);
    w.number(p.values.size());
    for (const auto v : p.values) w.fixed(v);
  }
}

}  // namespace

std::string encode(const trace_record& r) {
  writer w;
  write_trace(w, r);
  return w.take();
}

pl::result<trace_record> decode_trace(std::string_view bytes) {
  reader r(bytes);
  trace_record t;
  if (!r.readable()) return r.finish(t, "trace");
  const bool first = r.is_first_version();
  if (!first) t.grouping = r.hash();
  const auto flags = first ? 0 : r.number();
  t.seen_is_reading = (flags & 1U) != 0;
  if ((flags & 2U) != 0) t.silences_ended = static_cast<std::uint8_t>(r.number());
  t.newest = r.signed_number();
  t.seen = first ? t.newest : sum(t.newest, r.signed_number());
  t.position = r.number() - 1;
  t.slots.resize(r.count());
  for (auto& s : t.slots) {
    s.rule = r.fixed();
    if (!first) s.meaning = r.hash();
    s.time = r.signed_number();
    s.bits = r.fixed();
  }
  t.runs.resize(r.count());
  for (auto& p : t.runs) {
    p.rule = r.fixed();
    if (!first) p.definition = r.fixed();
    p.runs.resize(r.count());
    for (auto& run : p.runs) {
      run.since = r.signed_number();
      run.readings = static_cast<std::uint32_t>(r.number());
    }
    if (first) continue;
    p.read_at = r.signed_number();
    p.values.resize(r.count());
    for (auto& v : p.values) v = r.fixed();
  }
  return r.finish(std::move(t), "trace");
}

namespace {

void write_alerts(writer& w, const alerts_record& r) {
  w.number(r.grouping);
  w.number(r.entries.size());
  for (const auto& e : r.entries) {
    w.fixed(e.rule);
    w.fixed(e.definition);
    w.number((e.recheck ? 1U : 0U) | (e.silence ? 2U : 0U));
    w.signed_number(e.state.level);
    w.signed_number(e.state.last_flip);
    w.number(e.state.fired.size());
    for (const auto t : e.state.fired) w.signed_number(t);
    w.number(e.state.alert ? 1 : 0);
    if (!e.state.alert) continue;
    write_alert(w, *e.state.alert);
    w.text(e.severity);
  }
}

alerts_record read_alerts(reader& r) {
  alerts_record a;
  const bool first = r.is_first_version();
  if (!first) a.grouping = r.hash();
  a.entries.resize(r.count());
  for (auto& e : a.entries) {
    e.rule = r.fixed();
    if (!first) {
      e.definition = r.fixed();
      const auto flags = r.number();
      e.recheck = (flags & 1U) != 0;
      e.silence = (flags & 2U) != 0;
    }
    e.state.level = static_cast<std::int32_t>(r.signed_number());
    e.state.last_flip = r.signed_number();
    e.state.fired.resize(r.count());
    for (auto& t : e.state.fired) t = r.signed_number();
    if (r.number() == 0) continue;
    e.state.alert = read_alert(r);
    if (!first) e.severity = r.text();
  }
  return a;
}

}  // namespace

std::string encode(const alerts_record& r) {
  writer w;
  write_alerts(w, r);
  return w.take();
}

pl::result<alerts_record> decode_alerts(std::string_view bytes) {
  reader r(bytes);
  if (!r.readable()) return r.finish(alerts_record{}, "alerts");
  auto a = read_alerts(r);
  return r.finish(std::move(a), "alerts");
}

std::string encode(const published_record& r) {
  writer w;
  w.number(r.position + 1);  // PL_UNKNOWN becomes 0
  write_alerts(w, r.alerts);
  return w.take();
}

pl::result<published_record> decode_published(std::string_view bytes) {
  reader r(bytes);
  published_record p;
  if (!r.readable()) return r.finish(p, "published alerts");
  p.position = r.number() - 1;
  p.alerts = read_alerts(r);
  return r.finish(std::move(p), "published alerts");
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

std::string encode(const rules_record& r) {
  writer w;
  w.number(r.group_by.size());
  for (const auto& column : r.group_by) w.text(column);
  w.number(r.rules.size());
  for (const auto& rule : r.rules) {
    w.text(rule.name);
    w.text(rule.metric);
    w.text(rule.labels);
    w.number(rule.send_resolved ? 1 : 0);
  }
  if (r.keeps_published) w.number(1);
  return w.take();
}

pl::result<rules_record> decode_rules(std::string_view bytes) {
  reader r(bytes);
  rules_record made;
  if (!r.readable()) return r.finish(made, "rules");
  made.group_by.resize(r.count());
  for (auto& column : made.group_by) column = r.text();
  made.rules.resize(r.count());
  for (auto& rule : made.rules) {
    rule.name = r.text();
    rule.metric = r.text();
    rule.labels = r.text();
    if (!pl::is_json(rule.labels)) rule.labels.clear();
    rule.send_resolved = r.number() != 0;
  }
  if (!r.at_end()) made.keeps_published = r.number() != 0;
  return r.finish(std::move(made), "rules");
}

// ---------------------------------------------------------------------------------------------------- of the memory ---

namespace {

bool is_timed(const rule& r) { return r.when == condition::silence || r.retired != end_reason::none; }

trace_record trace_head(const rule_set& rules, const key_node& n) {
  trace_record t;
  t.grouping = rules.grouping;
  t.newest = n.newest;
  t.seen = n.seen;
  t.seen_is_reading = n.seen_is_reading;
  t.silences_ended = n.silences_ended;
  t.position = n.position;
  return t;
}

void add_slots(const rule_set& rules, const key_node& n, bool rates, trace_record& to) {
  for (std::size_t i = 0; i < rules.configured; ++i) {
    const auto& r = rules.rules[i];
    if (!r.slot || (r.rate && !rates) || n.slot(*r.slot).time == never) continue;
    const auto& s = n.slot(*r.slot);
    to.slots.push_back(
        {r.fingerprint, slot_meaning(r), s.time, r.rate ? std::bit_cast<std::uint64_t>(s.value) : s.position});
  }
}

alerts_record::entry entry_of(const rule& r, const rule_state& s) {
  alerts_record::entry e{r.fingerprint, r.definition, s.alerts, s.recheck, r.when == condition::silence, {}};
  if (s.alerts.alert) e.severity = r.levels[static_cast<std::size_t>(s.alerts.alert->level)].severity;
  return e;
}

}  // namespace

trace_record trace_of(const rule_set& rules, const key_node& n) {
  auto t = trace_head(rules, n);
  add_slots(rules, n, true, t);
  if (!n.states) return t;
  for (const auto& s : *n.states) {
    const auto& r = rules.rules[s.rule];
    if (!s.runs.empty()) t.runs.push_back({r.fingerprint, r.definition, s.runs, s.read_at, s.values});
  }
  return t;
}

alerts_record alerts_of(const rule_set& rules, const key_node& n) {
  alerts_record a{rules.grouping, {}};
  if (n.states)
    for (const auto& s : *n.states)
      if (s.alerts != alert_state{}) a.entries.push_back(entry_of(rules.rules[s.rule], s));
  return a;
}

trace_record timer_trace_of(const rule_set& rules, const key_node& n) {
  auto t = trace_head(rules, n);
  add_slots(rules, n, false, t);
  return t;
}

alerts_record timer_alerts_of(const rule_set& rules, const key_node& n) {
  alerts_record a{rules.grouping, {}};
  if (n.states)
    for (const auto& s : *n.states)
      if (is_timed(rules.rules[s.rule])) a.entries.push_back(entry_of(rules.rules[s.rule], s));
  return a;
}

constexpr std::size_t most_expanded = 256;  // no page has as many keys

// A trace has the same bytes as one that is stored alone.
std::string encode_page(const rule_set& rules, std::span<key_node* const> keys) {
  writer page, trace;
  page.number(keys.size());
  std::string_view key;
  std::string before;
  for (const auto* n : keys) {
    page.similar(n->key(), key);
    key = n->key();
    trace.restart();
    write_trace(trace, trace_of(rules, *n));
    page.similar(trace.bytes(), before);
    before = trace.bytes();
  }
  return page.take();
}

pl::result<std::vector<paged_trace>> decode_page(std::string_view bytes) {
  reader r(bytes);
  std::vector<paged_trace> all;
  if (!r.readable()) return r.finish(std::move(all), "page of devices");
  const auto keys = r.count();
  paged_trace next;
  std::size_t left = most_expanded * bytes.size();  // bounds the memory that wrong bytes take
  for (std::size_t i = 0; i < keys && !r.bad(); ++i) {
    r.similar(next.key);
    r.similar(next.trace);
    const auto size = next.key.size() + next.trace.size();
    if (size > left)
      return pl::fatal(
          "a stored page of devices of threshold_alert is damaged; delete it: its devices then count as new");
    left -= size;
    all.push_back(next);
  }
  return r.finish(std::move(all), "page of devices");
}

rules_record rules_of(const rule_set& rules) {
  rules_record made;
  made.group_by = rules.group_by;
  made.keeps_published = true;
  for (const auto& r : rules.rules) {
    const rules_record::entry e{r.name, r.metric, r.labels, r.send_resolved};
    if (std::ranges::find(made.rules, e) == made.rules.end()) made.rules.push_back(e);
  }
  return made;
}

}  // namespace threshold_alert
