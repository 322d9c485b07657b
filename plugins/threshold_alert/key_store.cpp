// SPDX-License-Identifier: Apache-2.0
#include "key_store.hpp"

#include "instant.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <stdexcept>

namespace threshold_alert {
namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}
bool is_key(const key_node& n, const std::vector<const pl::cell*>& columns, std::uint32_t row) noexcept {
  const auto key = n.key();
  const char* p = key.data();
  for (const auto* column : columns) {
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

}  // namespace

key_store::key_store(const rule_set& rules) : rules_(rules), hash_(random_seed()) {}

stream_state& key_store::stream(std::string_view name) {
  const auto known = streams_.find(name);
  if (known != streams_.end()) return *known->second;
  auto fresh = std::make_unique<stream_state>(rules_);
  fresh->name = name;
  return *streams_.emplace(name, std::move(fresh)).first->second;
}

stream_state* key_store::find_stream(std::string_view name) {
  const auto known = streams_.find(name);
  return known == streams_.end() ? nullptr : known->second.get();
}

void key_store::drop_stream(std::string_view name) {
  if (const auto known = streams_.find(name); known != streams_.end()) streams_.erase(known);
}

key_node* key_store::find_row(const stream_state& s, const std::vector<const pl::cell*>& columns, std::uint32_t row,
                              std::uint32_t hash) const {
  return s.keys.find(hash, [&](const key_node& candidate) { return is_key(candidate, columns, row); });
}

key_node* key_store::find_or_admit(stream_state& s, const std::vector<const pl::cell*>& columns, std::uint32_t row,
                                   std::uint32_t hash) {
  if (auto* n = find_row(s, columns, row, hash)) return n;
  if (!admits(s)) return nullptr;
  scratch_.clear();
  for (const auto* column : columns) append_key(scratch_, column[row]);
  return &insert(s, hash, scratch_);
}

bool key_store::admits(stream_state& s) {
  const bool full = s.keys.size() >= rules_.max_keys;
  if (!full && !crowded_) return true;
  if (full || replaceable_ == 0) {
    if (rules_.when_full == full_policy::reject) return false;
    replaceable_ = evict_oldest(s);
  }
  if (replaceable_ == 0 || s.keys.size() >= rules_.max_keys) return false;
  --replaceable_;
  return true;
}

// Remove the keys beyond the limit and a sixteenth of all: those that have been silent for longest. Keys with open alerts
// stay, so that the alerts can end. Return the number of removed keys.
std::size_t key_store::evict_oldest(stream_state& s) {
  std::vector<key_node*> old;
  s.keys.for_each([&](key_node& n) {
    const auto open = [](const rule_state& state) { return state.alerts.alert.has_value(); };
    if (!n.rereading && !(n.states && std::ranges::any_of(*n.states, open))) old.push_back(&n);
  });
  const auto excess = s.keys.size() - std::min<std::size_t>(s.keys.size(), rules_.max_keys);
  const auto count = std::min(old.size(), excess + std::max<std::size_t>(1, s.keys.size() / 16));
  const auto older = [](const key_node* a, const key_node* b) {
    const auto when = [](const key_node* n) { return n->seen != never ? n->seen : n->newest; };
    return when(a) != when(b) ? when(a) < when(b) : a->key() < b->key();
  };
  std::ranges::nth_element(old, old.begin() + static_cast<std::ptrdiff_t>(count), older);
  old.resize(count);
  for (auto* n : old) remove(s, *n);
  evicted_ += count;
  return count;
}

std::uint32_t key_store::hash_of(std::string_view key) {
  unpack_key(key, cells_);
  auto h = hash_.start();
  for (const auto& c : cells_) h = key_hash::add(h, c);
  return fold(h);
}

key_node* key_store::find(const stream_state& s, std::string_view key) { return s.keys.find(hash_of(key), key); }

key_node& key_store::find_or_insert(stream_state& s, std::string_view key, std::uint32_t page) {
  const auto hash = hash_of(key);
  auto* known = s.keys.find(hash, key);
  return known != nullptr ? *known : insert(s, hash, key, page);
}

key_node& key_store::insert(stream_state& s, std::uint32_t hash, std::string_view key, std::uint32_t page) {
  auto& n = s.keys.insert(hash, key);
  n.scope = scope_for(n.key());
  if (tracks_changes_) page == no_page ? s.pages.add(n) : s.pages.add(n, page);
  return n;
}

void key_store::remove(stream_state& s, key_node& n) {
  const own_entries entries{n.trace_stored, n.alerts_stored, n.published_stored, n.unconfirmed};
  if (tracks_changes_ && entries.any()) s.removed.push_back({std::string(n.key()), entries});
  s.pages.remove(n);
  s.deadlines.remove(n);
  s.later.erase(&n);
  s.keys.erase(n);
}

std::uint16_t key_store::scope_for(std::string_view key) {
  unpack_key(key, cells_);
  rule_scope fresh;
  for (std::uint32_t i = 0; i < rules_.configured; ++i) {
    const auto& r = rules_.rules[i];
    const bool accepted = std::all_of(r.match.begin(), r.match.end(), [&](const pattern& p) {
      return pl::has_bytes(cells_[p.key]) && p.accepts.matches(pl::bytes_of(cells_[p.key]));
    });
    fresh.accepted.push_back(accepted);
    if (!accepted) continue;
    (r.when == condition::silence ? fresh.silences : fresh.values).push_back(i);
    fresh.metric_silence |= r.when == condition::silence && r.slot;
    if (r.when == condition::silence && !r.slot)
      fresh.shortest_silence = std::min(fresh.shortest_silence, r.levels.front().missing_for);
  }
  for (std::size_t i = 0; i < scopes_.size(); ++i)
    if (scopes_[i].accepted == fresh.accepted) return static_cast<std::uint16_t>(i);
  if (scopes_.size() > UINT16_MAX)
    throw std::runtime_error(
        "the match patterns of the rules divide the devices into more than 65,536 sets; use fewer patterns");
  scopes_.push_back(std::move(fresh));
  return static_cast<std::uint16_t>(scopes_.size() - 1);
}

rule_state& key_store::state_of(key_node& n, std::uint32_t rule) const {
  if (auto* known = n.find(rule)) return *known;
  if (!n.states) n.states = std::make_unique<std::vector<rule_state>>();
  auto& fresh = n.states->emplace_back();
  fresh.rule = rule;
  const auto& r = rules_.rules[rule];
  if (r.when != condition::silence && r.retired == end_reason::none) fresh.runs.resize(r.levels.size());
  return fresh;
}

void key_store::drop_blank(key_node& n, std::uint32_t rule, std::int64_t now) const {
  const auto window = minus(now, rules_.rules[rule].flap_within);
  std::erase_if(*n.states, [&](const rule_state& s) { return s.rule == rule && s.blank(window, now); });
  if (n.states->empty()) n.states.reset();
}

void key_store::drop_ended(key_node& n) const {
  if (!n.states) return;
  std::erase_if(*n.states, [this](const rule_state& s) {
    return rules_.rules[s.rule].retired != end_reason::none && !s.alerts.alert;
  });
  if (n.states->empty()) n.states.reset();
}

std::size_t key_store::keys() const noexcept {
  std::size_t n = 0;
  for (const auto& [name, s] : streams_) n += s->keys.size();
  return n;
}

std::size_t key_store::bytes() const noexcept {
  std::size_t n = 0;
  for (const auto& [name, s] : streams_)
    n += s->keys.bytes() + s->deadlines.bytes() + s->pages.bytes() + s->removed.capacity() * sizeof(removed_key) +
         s->old_pages.capacity() * sizeof(std::uint32_t);
  return n;
}

}  // namespace threshold_alert
