// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include "message.hpp"
#include "retired_rules.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace threshold_alert {
namespace {

std::string list_of(const std::vector<std::string>& names) {
  std::string all = "[";
  for (const auto& name : names) all.append(&name == &names.front() ? "" : ", ").append(name);
  return all + "]";
}

// The group_by of version 1, which did not store it, if it was the default.
const std::vector<std::string>& default_group() {
  static const std::vector<std::string> names{"user_id", "device_id"};
  return names;
}

// Some stores limit the size of an entry, and a page is stored again for the change of a single key.
constexpr std::size_t most_page_bytes = std::size_t{128} << 10U;
// The entries of earlier versions that one snapshot replaces: those of 256 pages are some 16,000.
constexpr std::size_t most_replaced_pages = 256;

// The names of pages: the number, its highest byte first.
std::string page_name(std::uint32_t number) {
  std::string name(1, 'g');
  for (int shift = 24; shift >= 0; shift -= 8) name.push_back(static_cast<char>(number >> shift));
  return name;
}
std::optional<std::uint32_t> page_number(std::string_view name) {
  if (name.size() != sizeof(std::uint32_t)) return std::nullopt;
  std::uint32_t number = 0;
  for (const auto c : name) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

bool is_resolved(const std::vector<stored_row>& rows, const uuid& id) {
  return std::ranges::any_of(
      rows, [&](const stored_row& r) { return r.text("id") == uuid_text(id) && r.text("state") == "resolved"; });
}

}  // namespace

// --------------------------------------------------------------------------------------------------------- restore ---

pl::result<void> memory::restore(std::string_view stream, std::string_view name, std::string_view value) {
  if (name.empty()) return {};
  const std::string key(name.substr(1));
  auto& stored = restoring_[std::string(stream)];
  switch (static_cast<record>(name.front())) {
    case record::stream: {
      const auto known = decode_stream(value);
      if (!known.ok()) return known.why();
      evaluator_.stream(stream).greatest = known.value().greatest;
      return {};
    }
    case record::rules:
      stored.rules = value;
      return {};
    case record::in_flight:
      if (auto row = decode_row(key, value); row.ok()) {
        stored.in_flight.push_back(*std::move(row));
      } else {
        ctx_.error("a notice of stream " + std::string(stream) + " is not sent again: " + row.why().message);
        stored.useless.emplace_back(name);
      }
      return {};
    case record::page: {
      const auto number = page_number(key);
      if (!number) return pl::fatal("a stored page of devices of threshold_alert has no number; delete it");
      stored.pages[*number] = value;
      return {};
    }
    case record::trace:
      stored.keys[key].trace = value;
      return {};
    case record::alerts:
      stored.keys[key].alerts = value;
      return {};
    case record::timer_trace:
      stored.keys[key].timer_trace = value;
      return {};
    case record::timer_alerts:
      stored.keys[key].timer_alerts = value;
      return {};
    case record::published:
      stored.keys[key].published = value;
      return {};
  }
  return {};  // unknown: written by a later version
}

void memory::restored_delivered(std::string_view stream) {
  const auto at = restoring_.find(stream);
  if (at == restoring_.end()) return;
  for (const auto& row : std::exchange(at->second.in_flight, {}))
    at->second.useless.push_back(static_cast<char>(record::in_flight) + row.name);
}

pl::result<void> memory::restored(std::string_view stream, bool offset_reset) {
  auto& s = evaluator_.stream(stream);
  evaluator_.restoring(s);
  const auto at = restoring_.find(stream);
  if (at == restoring_.end()) return {};
  auto stored = std::move(at->second);
  restoring_.erase(at);
  restore_rules(s, stored.rules);
  restoring keys{s, stored, offset_reset, {}, false};
  // Numbers that are much too large would take memory: these pages get new ones.
  const auto numbers = 4 * stored.pages.size() + 1024;
  while (!stored.pages.empty()) {
    const auto page = stored.pages.extract(stored.pages.begin());
    if (auto done = restore_page(keys, page.key(), page.mapped(), page.key() < numbers); !done.ok()) return done;
  }
  for (const auto& [key, records] : std::exchange(stored.keys, {})) {
    const bool has_trace = !records.trace.empty();
    keys.has_snapshot = keys.has_snapshot || has_trace;
    const auto n = restore_found(keys, key, records, no_page);
    if (!n.ok()) return n.why();
    if (*n != nullptr) note_trace(s, **n, has_trace);
  }
  const auto& foreign = keys.foreign;
  if (foreign.keys != 0)
    ctx_.warn(group_change(s) + ": " + std::to_string(foreign.alerts) + " open alerts of stream " + s.name +
              " are resolved, and the state of its " + std::to_string(foreign.keys) + " devices starts anew");
  restore_published(s, offset_reset, keys.has_snapshot);
  if (!stored.useless.empty()) useless_[s.name] = std::move(stored.useless);
  std::ranges::stable_sort(stored.in_flight, {}, &stored_row::time);
  if (!stored.in_flight.empty()) in_flight_[s.name] = std::move(stored.in_flight);
  return {};
}

// State of a version that did not store published alerts, and a host that does not report what is discarded: reading the
// records again must give what was published. If nothing is delivered although there is a snapshot, the positions begin
// anew: all records are newer. Without a snapshot, no record was settled before the crash.
void memory::restore_published(stream_state& s, bool offset_reset, bool has_snapshot) {
  const auto delivered = offset_reset ? std::optional<std::uint64_t>(0) : reread_.delivered(s.name);
  const bool all_new = offset_reset || (delivered == std::uint64_t{0} && has_snapshot);
  if (delivered && s.stored.keeps_published)
    evaluator_.restored(s, all_new ? PL_UNKNOWN : *delivered);
  else
    s.reread = {};
}

void memory::drop(std::string_view stream) {
  if (const auto at = restoring_.find(stream); at != restoring_.end()) restoring_.erase(at);
  if (const auto at = in_flight_.find(stream); at != in_flight_.end()) in_flight_.erase(at);
  if (const auto at = useless_.find(stream); at != useless_.end()) useless_.erase(at);
}

void memory::restore_rules(stream_state& s, const std::string& bytes) {
  if (bytes.empty()) return;
  auto stored = decode_rules(bytes);
  if (stored.ok())
    s.stored = *std::move(stored);
  else
    ctx_.warn("alerts of rules that were removed have no names: " + stored.why().message);
}

pl::result<memory::decoded> memory::decode(const found& records) {
  decoded made;
  made.has_trace = !records.trace.empty();
  made.has_alerts = !records.alerts.empty();
  made.has_timer = !records.timer_trace.empty();
  const auto take = [](auto& to, auto read) -> pl::result<void> {
    if (!read.ok()) return read.why();
    to = *std::move(read);
    return {};
  };
  pl::result<void> done;
  if (made.has_trace) done = take(made.trace, decode_trace(records.trace));
  if (done.ok() && made.has_alerts) done = take(made.alerts, decode_alerts(records.alerts));
  if (done.ok() && made.has_timer) done = take(made.timer_trace, decode_trace(records.timer_trace));
  if (done.ok() && !records.timer_alerts.empty()) done = take(made.timer_alerts, decode_alerts(records.timer_alerts));
  made.has_published = !records.published.empty();
  if (done.ok() && made.has_published) done = take(made.published, decode_published(records.published));
  if (!done.ok()) return done.why();
  return made;
}

// is_alone: the stored state has an entry of the key's trace, whether or not a page has it, too.
void memory::note_trace(stream_state& s, key_node& n, bool is_alone) {
  n.trace_stored = is_alone;
  const bool is_listed = !s.old_pages.empty() && s.old_pages.back() == n.page;
  if (is_alone && n.page != no_page && !is_listed) s.old_pages.push_back(n.page);
}

// A page whose keys are not all in it from now on is erased or stored again with the next snapshot.
pl::result<void> memory::restore_page(restoring& r, std::uint32_t number, std::string_view bytes, bool keeps_number) {
  const auto keys = decode_page(bytes);
  if (!keys.ok()) return keys.why();
  r.has_snapshot = r.has_snapshot || !keys->empty();
  auto& pages = r.to.pages;
  bool any = false, complete = true;
  for (const auto& [key, trace] : *keys) {
    found records;
    if (auto known = r.from.keys.extract(key); !known.empty()) records = std::move(known.mapped());
    // A trace that is stored alone is older and not erased yet: versions without pages refuse to read this state.
    const bool alone = !records.trace.empty();
    records.is_paged = !alone;
    records.trace = trace;
    key_node* n = nullptr;
    const bool fits = is_packed(key, rules_.group_by.size());  // else it has no hash
    if (!fits || evaluator_.store().find(r.to, key) == nullptr) {
      auto made = restore_found(r, key, records, keeps_number ? number : no_page);
      if (!made.ok()) return made.why();
      n = *made;
    }
    any = any || n != nullptr;
    complete = complete && n != nullptr;
    if (n == nullptr) continue;
    note_trace(r.to, *n, alone);
    if (!keeps_number) pages.touch(n->page);
  }
  if (!keeps_number) {
    r.from.useless.push_back(page_name(number));
  } else if (!any) {
    pages.reserve(number);
    r.to.foreign_pages.push_back(number);
  } else {
    pages.exchange_stored(number, true);
    if (!complete) pages.touch(number);
  }
  return {};
}

pl::result<key_node*> memory::restore_found(restoring& r, std::string_view key, const found& records,
                                            std::uint32_t page) {
  const auto known = decode(records);
  if (!known.ok()) return known.why();
  const bool fits = is_packed(key, rules_.group_by.size());
  if (!fits || (known->grouping() != 0 && known->grouping() != rules_.grouping)) {
    restore_foreign(r, key, *known, records.entries());
    return nullptr;
  }
  return &restore_key(r, key, *known, page);
}

// Records since the last snapshot are read again. What a timer stored is newer: it applies after the last of them.
key_node& memory::restore_key(restoring& r, std::string_view key, const decoded& records, std::uint32_t page) {
  auto& s = r.to;
  auto& n = evaluator_.node(s, key, page);
  key_restorer restorer(rules_, evaluator_.store(), s.stored);
  restorer.snapshot(records.trace, records.alerts, n);
  n.unconfirmed = records.has_timer;
  n.alerts_stored = records.has_alerts;
  n.published_stored = records.has_published;
  if (auto published = published_of(records))
    s.reread.published.insert_or_assign(std::string(key), *std::move(published));
  if (records.has_timer) {
    const auto position = records.timer_trace.position;
    const bool read = records.has_trace && records.trace.position == position;
    if (read || r.offset_reset || position == PL_UNKNOWN) {
      restorer.timers(records.timer_trace, records.timer_alerts, n);
    } else {
      n.rereading = true;
      s.later[&n] = {position, records.timer_trace, records.timer_alerts};
    }
  }
  evaluator_.restored(s, n);
  return n;
}

// Return the alerts of a key that were published last. Without an event since the snapshot, they are those of the snapshot.
std::optional<published_record> memory::published_of(const decoded& records) {
  if (records.has_published) return records.published;
  const auto& timed = records.timer_alerts.entries;  // of a version that stored nothing else
  published_record made{PL_UNKNOWN, records.timer_alerts};
  for (const auto& e : records.alerts.entries)
    if (std::ranges::find(timed, e.rule, &alerts_record::entry::rule) == timed.end()) made.alerts.entries.push_back(e);
  const bool any = std::ranges::any_of(made.alerts.entries, [](const auto& e) { return e.state.alert.has_value(); });
  return any ? std::optional(std::move(made)) : std::nullopt;
}

// A key under another group_by: its open alerts are resolved, and its records are erased.
void memory::restore_foreign(restoring& r, std::string_view key, const decoded& records, own_entries entries) {
  auto& s = r.to;
  foreign_key made{{std::string(key), entries}, key_of_foreign(s, key), {}, group_change(s), {}};
  std::vector<pl::cell> cells;
  made.device = made.key.empty() ? std::string("a device") : device_text(key, cells);
  const auto kept =
      records.has_published ? std::vector{records.published.alerts} : std::vector{records.timer_alerts, records.alerts};
  for (const auto& alerts : kept)
    for (auto e : alerts.entries) {
      if (!e.state.alert || is_resolved(r.from.in_flight, e.state.alert->id)) continue;
      const auto same = [&](const auto& known) { return known.second.id == e.state.alert->id; };
      if (std::ranges::any_of(made.alerts, same)) continue;
      const auto rule = retire(rules_, e, end_reason::group_changed, s.stored);
      made.alerts.emplace_back(rule, *e.state.alert);
    }
  ++r.foreign.keys;
  r.foreign.alerts += made.alerts.size();
  evaluator_.restored(s, std::move(made));
}

// Return a key under the current group_by: the values of the columns that the stored group_by has, too.
std::string memory::key_of_foreign(const stream_state& s, std::string_view key) const {
  const auto& names = s.stored.group_by.empty() ? default_group() : s.stored.group_by;
  std::vector<pl::cell> cells;
  const bool readable = is_packed(key, names.size());
  if (readable) unpack_key(key, cells);
  std::string made;
  for (const auto& column : rules_.group_by) {
    const auto at = std::ranges::find(names, column);
    append_key(made,
               readable && at != names.end() ? cells[static_cast<std::size_t>(at - names.begin())] : pl::null_cell());
  }
  return made;
}

std::string memory::group_change(const stream_state& s) const {
  const auto from = s.stored.group_by.empty() ? std::string() : " from " + list_of(s.stored.group_by);
  return "group_by changed" + from + " to " + list_of(rules_.group_by);
}

// ----------------------------------------------------------------------------------------------------------- store ---

void memory::snapshot(std::string_view stream) {
  auto& s = evaluator_.stream(stream);
  if (s.reread.active) evaluator_.end_reread(s);
  erase_removed(s);
  if (const auto at = useless_.find(stream); at != useless_.end()) {
    for (const auto& name : at->second) ctx_.erase(stream, name);
    useless_.erase(at);
  }
  const auto replaced = touch_old_pages(s);
  for (auto changed = s.pages.take_changed(); !changed.empty(); changed = s.pages.take_changed())
    for (const auto number : changed) put_page(s, number);  // may change others
  for (const auto number : replaced) erase_traces(s, number);
  put_rules(s);
  put(stream, record::stream, {}, encode(stream_record{s.greatest}));
}

// While alerts of another group_by are not resolved, the names of their columns are needed.
void memory::put_rules(stream_state& s) {
  if (!s.foreign.empty()) return;
  auto current = rules_of(rules_);
  if (s.stored == current) return;
  s.stored = std::move(current);
  put(s.name, record::rules, {}, encode(s.stored));
}

// The traces of all its keys, and the other records of those that have changed.
void memory::put_page(stream_state& s, std::uint32_t number) {
  for (auto* n : s.pages.keys(number)) {
    if (n->changed) put_key(s.name, *n);
    n->changed = false;
  }
  const bool any = !s.pages.keys(number).empty();
  const bool was_stored = s.pages.exchange_stored(number, any);
  if (!any) {
    if (was_stored) ctx_.erase(s.name, page_name(number));
    return;
  }
  auto bytes = encode_page(rules_, s.pages.keys(number));
  while (bytes.size() > most_page_bytes && s.pages.keys(number).size() > 1) {
    for (auto* n : s.pages.keys(s.pages.split(number))) note_trace(s, *n, n->trace_stored);
    bytes = encode_page(rules_, s.pages.keys(number));
  }
  ctx_.put(s.name, page_name(number), bytes);
}

// After an upgrade, all devices may be stored alone. A snapshot that erased all these entries would be a transaction that
// takes too long, so each snapshot replaces some, also those of keys that have not changed.
std::vector<std::uint32_t> memory::touch_old_pages(stream_state& s) {
  const auto count = std::min(most_replaced_pages, s.old_pages.size());
  const auto first = s.old_pages.end() - static_cast<std::ptrdiff_t>(count);
  std::vector<std::uint32_t> replaced(first, s.old_pages.end());
  s.old_pages.erase(first, s.old_pages.end());
  if (s.old_pages.empty()) s.old_pages.shrink_to_fit();
  for (const auto number : replaced) s.pages.touch(number);
  return replaced;
}

// Erase the entries of traces that the page has replaced.
void memory::erase_traces(stream_state& s, std::uint32_t number) {
  for (auto* n : s.pages.keys(number)) {
    if (n->trace_stored) erase(s.name, record::trace, n->key());
    n->trace_stored = false;
  }
}

void memory::put_key(std::string_view stream, key_node& n) {
  const auto alerts = alerts_of(rules_, n);
  const bool any = !alerts.entries.empty();
  if (any)
    put(stream, record::alerts, n.key(), encode(alerts));
  else if (n.alerts_stored)
    erase(stream, record::alerts, n.key());
  n.alerts_stored = any;
  if (n.rereading) return;  // what a timer stored is still newer
  evaluator_.store().drop_ended(n);
  const bool is_read = !evaluator_.stream(stream).reread.published.contains(n.key());
  if (is_read && n.published_stored) {
    n.published_stored = false;
    erase(stream, record::published, n.key());
  }
  if (!n.unconfirmed) return;
  n.unconfirmed = false;
  erase(stream, record::timer_trace, n.key());
  erase(stream, record::timer_alerts, n.key());
}

void memory::put_now(std::string_view stream, std::string_view key) {
  if (!ctx_.keeps_state()) return;
  auto& s = evaluator_.stream(stream);
  auto& n = evaluator_.node(s, key);
  n.unconfirmed = true;
  put(stream, record::timer_trace, key, encode(timer_trace_of(rules_, n)));
  put(stream, record::timer_alerts, key, encode(timer_alerts_of(rules_, n)));
}

// While records are read again, the stored record is newer.
void memory::put_published(std::string_view stream, std::string_view key, std::uint64_t position) {
  if (!ctx_.keeps_state()) return;
  auto& s = evaluator_.stream(stream);
  auto* n = evaluator_.store().find(s, key);
  if (n == nullptr || s.reread.active || s.reread.published.contains(key)) return;
  put_rules(s);
  n->published_stored = true;
  if (position == PL_UNKNOWN && s.read_to != 0) position = s.read_to - 1;
  put(stream, record::published, key, encode(published_record{position, alerts_of(rules_, *n)}));
  evaluator_.store().note_change(s, *n);  // the next snapshot erases it
}

void memory::erase_removed_now(std::string_view stream) {
  if (ctx_.keeps_state()) erase_removed(evaluator_.stream(stream));
}

void memory::erase_removed(stream_state& s) {
  for (const auto& [key, entries] : std::exchange(s.removed, {})) {
    if (entries.trace) erase(s.name, record::trace, key);
    if (entries.alerts) erase(s.name, record::alerts, key);
    if (entries.published) erase(s.name, record::published, key);
    if (!entries.timer) continue;
    erase(s.name, record::timer_trace, key);
    erase(s.name, record::timer_alerts, key);
  }
  if (!s.foreign.empty()) return;  // they are not resolved yet
  for (const auto number : std::exchange(s.foreign_pages, {})) {
    ctx_.erase(s.name, page_name(number));
    s.pages.release(number);
  }
}

void memory::put_in_flight(std::string_view stream, pl::batch_view made, std::uint32_t port,
                           const std::vector<std::string_view>& keys) {
  if (!ctx_.keeps_state()) return;
  const auto read_to = evaluator_.stream(stream).read_to;
  for (const auto row : made.selection()) {
    name_.assign(1, static_cast<char>(record::in_flight)).append(row_name(made, row));
    const auto value = encode_row(keys[row], port, read_to == 0 ? PL_UNKNOWN : read_to, made, row);
    ctx_.put_until_delivered(stream, name_, value);
  }
}

void memory::put_in_flight(std::string_view stream, const stored_row& row) {
  name_.assign(1, static_cast<char>(record::in_flight)).append(row.name);
  ctx_.put_until_delivered(stream, name_, encode_row(row));
}

// The output of a record that is read again may be discarded. If the record is older than a notice, this does not show
// that the notice was delivered.
std::vector<stored_row> memory::take_in_flight(std::string_view stream, std::string_view key, std::uint64_t position) {
  std::vector<stored_row> taken;
  const auto at = in_flight_.find(stream);
  if (at == in_flight_.end()) return taken;
  auto& rows = at->second;
  const auto rest = std::stable_partition(rows.begin(), rows.end(),
                                          [&](const auto& r) { return r.key == key && r.read_to <= position; });
  taken.assign(std::make_move_iterator(rows.begin()), std::make_move_iterator(rest));
  rows.erase(rows.begin(), rest);
  if (rows.empty()) in_flight_.erase(at);
  return taken;
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
