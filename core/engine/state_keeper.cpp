// SPDX-License-Identifier: Apache-2.0
#include "engine/state_keeper.hpp"

#include "engine/stored_nodes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr auto snapshot_interval = 2s;  // bounds what transforms read again after a crash
constexpr auto write_interval = 1s;     // between attempts to write to the local database

state_change watermark_change(std::string_view stream, std::uint64_t watermark) {
  return {{}, std::string(stream), std::string(state_watermark_key), std::to_string(watermark), false};
}

// Move the start of reading to a state watermark that was found. Everything below the watermark was settled when it was
// written.
void start_at_watermark(std::string_view value, start_reason why, bool first_claim, stream_claim& claim) {
  std::uint64_t watermark = 0;
  std::from_chars(value.data(), value.data() + value.size(), watermark);
  if (why == start_reason::committed && !first_claim) {
    claim.start = watermark;
    claim.settled = std::max(claim.settled, watermark);
  } else if (why != start_reason::reset) {
    // The group has lost its offset, so positions may mean other records now.
    claim.start = std::min(claim.start, watermark);
  }
}

}  // namespace

bool state_keeper::enabled() const {
  if (graph_.stores.empty() && !graph_.state) return false;
  return std::any_of(graph_.slots.begin(), graph_.slots.end(), [](auto& s) { return s->unit->stateful(); });
}

// --------------------------------------------------------------------------------------------------------- streams ---

result<void> state_keeper::restore(std::string_view stream, start_reason why, stream_claim& claim) {
  for (auto& slot : graph_.slots)
    if (slot->started) (void)slot->unit->revoked(stream);
  const bool reset = why == start_reason::reset;
  const bool first_claim = !graph_.stores.empty() && claim.epoch == 1;
  claim.has_state = false;
  if (const auto at = snapshots_.find(stream); at != snapshots_.end()) snapshots_.erase(at);
  stored_nodes nodes;
  std::string clock_entry;
  const auto each = [&](std::string_view node, std::string_view key, std::string_view value) {
    if (node.empty() && key == state_watermark_key) {
      claim.has_state = true;
      start_at_watermark(value, why, first_claim, claim);
    }
    if (node.empty() && key == arrival_clock_key) clock_entry = value;
    const auto* slot = graph_.find(node);
    if (slot != nullptr && slot->started) return slot->unit->restore(stream, key, value);
    if (slot == nullptr) nodes.add(node, key, value);
    return result<void>();
  };
  auto loaded = load(stream, each, claim);
  for (auto& slot : graph_.slots)
    if (loaded.ok() && slot->started) loaded = name_nodes(*slot, stream, nodes);
  // The source marks the offset reset at the broker next. After a crash, the reset would not be recognised again.
  if (loaded.ok() && graph_.state && claim.has_state && reset)
    loaded = graph_.state->write(source_.node(), {watermark_change(stream, claim.start)});
  arrivals_.assign(stream, clock_entry);
  const auto discarded = reset ? 0 : output_discarded(claim);
  for (auto& slot : graph_.slots)
    if (loaded.ok() && slot->started)
      loaded = slot->unit->restored(stream, {reset, was_delivered_with_state(*slot, claim.state_store), discarded});
  if (loaded.ok()) warn_of_unused(nodes.unused(), stream);
  return loaded;
}

// Store the name of the transform's plugin, once. If its node was renamed, it takes over the state of the former node. Both
// are written with the next snapshot.
result<void> state_keeper::name_nodes(transform_slot& slot, std::string_view stream, stored_nodes& nodes) {
  auto& unit = *slot.unit;
  if (!unit.stateful() || nodes.names(unit.node())) return {};
  const std::string name(stream), plugin(pl::view(unit.component().name));
  auto& changes = snapshots_[name].changes;
  const auto former = nodes.former_name(slot, graph_);
  changes.push_back({{}, name, stored_nodes::key_of(unit.node()), plugin, false});
  if (!former) return {};
  changes.push_back({{}, name, stored_nodes::key_of(*former), {}, true});
  auto moved = nodes.take(*former);
  unit.log(telemetry::log_level::info,
           fmt::format("continues with the stored state of '{}' ({} entr{} of {}), which is no longer configured: the "
                       "node was renamed",
                       *former, moved.size(), moved.size() == 1 ? "y" : "ies", stream));
  for (auto& [key, value] : moved) {
    if (auto restored = unit.restore(stream, key, value); !restored.ok()) return restored;
    changes.push_back({*former, name, key, {}, true});
    changes.push_back({unit.node(), name, std::move(key), std::move(value), false});
  }
  return {};
}

// Return the position below which output is discarded. State that was put with a record's output is written in the same
// transaction, or, in the local database, before it.
std::uint64_t state_keeper::output_discarded(const stream_claim& claim) const {
  return graph_.stores.empty() ? claim.settled : claim.next[claim.state_store];
}

// State and output of a tick are one transaction in the position store that keeps the state.
bool state_keeper::was_delivered_with_state(const transform_slot& slot, std::size_t state_store) const {
  return !graph_.stores.empty() && graph_.emits_only_to(slot, state_store);
}

void state_keeper::report_unused(std::string_view stream) {
  entry_counts found;
  const auto count = [&](std::string_view node, std::string_view, std::string_view) {
    if (!node.empty()) ++found[std::string(node)];
    return result<void>();
  };
  // A failure is of no consequence: nothing needs this state.
  if (!graph_.stores.empty())
    (void)graph_.stores.load(source_.node(), stream, 0, count);
  else if (graph_.state)
    (void)graph_.state->load(source_.node(), stream, count);
  warn_of_unused(found, stream);
}

void state_keeper::warn_of_unused(const entry_counts& entries, std::string_view stream) {
  for (const auto& [node, n] : entries)
    source_.log(telemetry::log_level::warn,
                fmt::format("stored state is no longer used: {} entr{} of {} belong to '{}', and no transform of this "
                            "name reads from here; restore the name if it was changed by mistake",
                            n, n == 1 ? "y" : "ies", stream, node));
}

result<void> state_keeper::restore(transform_slot& slot) {
  if (!enabled() || !slot.unit->stateful()) return {};
  for (const auto& [name, stream] : streams_.all()) {
    (void)slot.unit->revoked(name);
    stored_nodes nodes;
    const std::string& of = name;  // clang 14: a lambda cannot capture a structured binding
    const auto each = [&](std::string_view node, std::string_view key, std::string_view value) {
      if (slot.unit->node() == node) return slot.unit->restore(of, key, value);
      if (graph_.find(node) == nullptr) nodes.add(node, key, value);
      return result<void>();
    };
    auto loaded = graph_.stores.empty() ? load_locally(name, each)
                                        : graph_.stores.load(source_.node(), name, stream.claim.state_store, each);
    if (loaded.ok()) loaded = name_nodes(slot, name, nodes);
    if (loaded.ok())
      loaded = slot.unit->restored(
          name, {false, was_delivered_with_state(slot, stream.claim.state_store), output_discarded(stream.claim)});
    if (!loaded.ok()) return loaded;
    auto& s = snapshots_[name];
    if (s.watermark != PL_UNKNOWN || stream.claim.has_state) continue;
    // The first transform with state: it has seen none of the records before this position.
    s.watermark = stream.state->position();
    changes_.push_back(watermark_change(name, s.watermark));
  }
  return {};
}

bool state_keeper::stored_completely() const {
  if (!changes_.empty()) return false;
  if (!enabled()) return true;
  return std::ranges::all_of(streams_.all(), [&](const auto& entry) {
    const auto& [name, stream] = entry;
    const auto position = stream.state->position();
    const auto at = snapshots_.find(name);
    if (at == snapshots_.end() || at->second.pending) return false;
    const auto watermark = at->second.watermark == PL_UNKNOWN ? stream.claim.start : at->second.watermark;
    return watermark == position;
  });
}

// `each` sets claim.has_state once it finds a state watermark.
result<void> state_keeper::load(std::string_view stream, const position_stores::entry& each, stream_claim& claim) {
  if (graph_.stores.empty()) return load_locally(stream, each);
  // Another store keeps the state if it did so before this one was configured.
  claim.state_store = graph_.state_store();
  auto loaded = graph_.stores.load(source_.node(), stream, claim.state_store, each);
  for (std::size_t i = 0; i < graph_.stores.size() && !claim.has_state && loaded.ok(); ++i) {
    if (i == graph_.state_store()) continue;
    loaded = graph_.stores.load(source_.node(), stream, i, each);
    if (claim.has_state) claim.state_store = i;
  }
  return loaded;
}

result<void> state_keeper::load_locally(std::string_view stream, const position_stores::entry& each) {
  if (!graph_.state) return {};
  auto loaded = graph_.state->load(source_.node(), stream, each);
  if (loaded.ok() || loaded.why().code != status::retry) return loaded;
  // Delivery has priority over state: continue without state.
  source_.log(telemetry::log_level::warn,
              loaded.why().message + "; transforms start without state, and lose their state at the next restart");
  graph_.state.reset();
  return {};
}

void state_keeper::stream_assigned(std::string_view stream, const stream_claim& claim) {
  drop_changes(stream);
  auto& s = snapshots_[std::string(stream)];  // `restore` may have left changes for the first one
  if (claim.has_state || !enabled()) return;
  // Written with the stream's first records, because transforms have seen none before them.
  s.watermark = claim.start;
  changes_.push_back(watermark_change(stream, claim.start));
  std::ranges::move(s.changes, std::back_inserter(changes_));
  s.changes.clear();
}

void state_keeper::stream_revoked(std::string_view stream) {
  for (auto& slot : graph_.slots) (void)slot->unit->revoked(stream);
  drop_changes(stream);
  if (const auto at = snapshots_.find(stream); at != snapshots_.end()) snapshots_.erase(at);
}

void state_keeper::clear() {
  snapshots_.clear();
  changes_.clear();
  unwritten_ = measured_ = 0;
  receipts_.clear();
}

void state_keeper::drop_changes(std::string_view stream) {
  std::erase_if(changes_, [&](const state_change& c) { return c.stream == stream; });
  std::erase_if(receipts_, [&](const receipt& r) { return r.stream == stream; });
  unwritten_ = measured_ = 0;
}

// ------------------------------------------------------------------------------------------------------- snapshots ---

void state_keeper::snapshot_now() {
  collect_settled();
  take_snapshots(1, heavy_size);
}

bool state_keeper::heavy() const noexcept {
  snapshot_size all;
  for (const auto& [name, s] : snapshots_) all += s.last;
  return all.reaches(heavy_size);
}

void state_keeper::snapshot_if_due() {
  collect_settled();
  if (clock::now() >= next_snapshot_) take_snapshots(clock_interval, light_size);
}

std::vector<const state_keeper::stream_entry*> state_keeper::oldest_first() {
  std::vector<std::pair<clock::time_point, const stream_entry*>> by_age;
  for (const auto& entry : streams_.all()) by_age.emplace_back(snapshots_[entry.first].taken, &entry);
  std::ranges::stable_sort(by_age, {}, [](const auto& pair) { return pair.first; });
  std::vector<const stream_entry*> streams;
  for (const auto& [taken, entry] : by_age) streams.push_back(entry);
  return streams;
}

// Write state that changes with each record periodically, with the position up to which it includes the records; after
// a restart, transforms read from that position. A snapshot is written only once all records below it are settled at
// every branch, so that output that may not have been delivered is produced again.
void state_keeper::take_snapshots(std::int64_t least_advance, snapshot_size most) {
  if (!enabled()) return;
  snapshot_size all;
  for (const auto* entry : oldest_first()) {
    const auto& [name, stream] = *entry;
    auto& s = snapshots_[name];
    const auto position = stream.state->position();
    const bool changed = s.watermark != position || !s.changes.empty() || arrivals_.unstored(name) >= least_advance;
    if (!changed) s.last = {};
    if (s.pending || !changed || !is_level(stream, position) || all.reaches(most)) continue;
    take(name, position, s);
    all += s.last;
    collect_if_settled(stream, s);
  }
  const auto weight = 1 + all.entries / light_size.entries + all.bytes / light_size.bytes;
  next_snapshot_ = clock::now() + snapshot_interval * static_cast<int>(weight);
}

void state_keeper::snapshot_in_flight() {
  if (!enabled() || heavy()) return;
  snapshot_size all;
  for (const auto* entry : oldest_first()) {
    const auto& [name, stream] = *entry;
    auto& s = snapshots_[name];
    const auto position = stream.state->position();
    if (s.watermark == position || !is_level(stream, position) || all.reaches(heavy_size)) continue;
    take(name, position, s);
    all += s.last;
  }
}

void state_keeper::collect_settled() {
  if (!enabled()) return;
  for (const auto& [name, stream] : streams_.all())
    if (const auto at = snapshots_.find(name); at != snapshots_.end()) collect_if_settled(stream, at->second);
}

// A sink whose position is higher than what was read would ignore the changes. And while records are read again whose
// output is discarded, the stored state is that of what was delivered, which a snapshot would replace.
bool state_keeper::is_level(const assigned_stream& stream, std::uint64_t position) {
  return position >= stream.claim.settled &&
         std::ranges::all_of(stream.claim.next, [position](auto n) { return n <= position; });
}

void state_keeper::collect_if_settled(const assigned_stream& stream, snapshot& s) {
  if (!s.pending || stream.state->settled() < s.watermark) return;
  std::move(s.changes.begin(), s.changes.end(), std::back_inserter(changes_));
  changes_.push_back(watermark_change(stream.state->name(), s.watermark));
  s.changes.clear();
  s.pending = false;
}

// A snapshot contains what has changed since the one before. If that one is not written yet, keep its other entries.
void state_keeper::take(const std::string& stream, std::uint64_t position, snapshot& s) {
  auto older = std::exchange(s.changes, {});
  for (auto& slot : graph_.slots) {
    call_effects effects;
    const auto taken = slot->unit->snapshot(stream, effects);
    if (!taken.ok()) return status_.fail(*slot->unit, taken.why().message);
    std::move(effects.changes.begin(), effects.changes.end(), std::back_inserter(s.changes));
  }
  if (auto entry = arrivals_.store(stream))
    s.changes.push_back({{}, stream, std::string(arrival_clock_key), *std::move(entry), false});
  if (!older.empty()) {
    std::set<std::pair<std::string_view, std::string_view>> replaced;
    for (const auto& c : s.changes) replaced.emplace(c.node, c.key);
    std::erase_if(older, [&](const auto& c) { return replaced.contains({c.node, c.key}); });
    s.changes.insert(s.changes.begin(), std::make_move_iterator(older.begin()), std::make_move_iterator(older.end()));
  }
  s.watermark = position;
  s.pending = true;
  s.taken = clock::now();
  s.last = {s.changes.size(), 0};
  for (const auto& c : s.changes) s.last.bytes += c.key.size() + c.value.size();
}

// --------------------------------------------------------------------------------------------------------- changes ---

// Changes of the current batch are newer than a pending snapshot, and replace its entries.
void state_keeper::collect(call_effects& effects) {
  for (auto& c : effects.changes) {
    if (const auto at = snapshots_.find(c.stream); at != snapshots_.end())
      std::erase_if(at->second.changes, [&](const auto& old) { return old.node == c.node && old.key == c.key; });
    if (c.until_delivered) expect_delivery(c);
    changes_.push_back(std::move(c));
  }
}

void state_keeper::expect_delivery(const state_change& c) {
  const auto* stream = streams_.find(c.stream);
  if (stream == nullptr) return;
  std::erase_if(receipts_,
                [&](const receipt& r) { return r.node == c.node && r.stream == c.stream && r.key == c.key; });
  receipts_.push_back({c.node, c.stream, c.key, stream->state->begun()});
}

void state_keeper::collect_delivered() {
  std::erase_if(receipts_, [this](const receipt& r) {
    const auto* stream = streams_.find(r.stream);
    if (stream != nullptr && stream->state->delivered() < r.flight) return false;
    if (stream != nullptr) changes_.push_back({r.node, r.stream, r.key, {}, true});
    return true;
  });
}

std::vector<state_change> state_keeper::take_changes(record_batch* root) {
  auto changes = std::exchange(changes_, {});
  if (root == nullptr) return changes;
  // Changes of other streams are written with the next batch of those streams.
  const auto ranges = root->view().ranges();
  const auto others = std::stable_partition(changes.begin(), changes.end(), [&](const auto& c) {
    return std::ranges::any_of(ranges, [&](const auto& r) { return pl::view(r.stream) == c.stream; });
  });
  changes_.assign(std::make_move_iterator(others), std::make_move_iterator(changes.end()));
  changes.erase(others, changes.end());
  return changes;
}

void state_keeper::write_locally() {
  if (!graph_.state) return changes_.clear();
  if (changes_.empty()) return;
  if (status_.state_unwritten() && clock::now() < next_write_) return measure_unwritten();
  const auto written = graph_.state->write(source_.node(), changes_);
  if (!written.ok()) return keep_unwritten(written.why());
  changes_.clear();
  unwritten_ = measured_ = 0;
  status_.state_written();
}

// Of each entry, only the last change is of use: what is kept does not grow with the number of changes.
void state_keeper::keep_unwritten(const failure& why) {
  next_write_ = clock::now() + write_interval;
  std::set<std::tuple<std::string_view, std::string_view, std::string_view>> seen;
  std::vector<bool> last(changes_.size());
  for (std::size_t i = changes_.size(); i-- > 0;)
    last[i] = seen.emplace(changes_[i].stream, changes_[i].node, changes_[i].key).second;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (last[i]) {
      if (kept != i) changes_[kept] = std::move(changes_[i]);
      ++kept;
    }
  changes_.resize(kept);
  unwritten_ = measured_ = 0;
  measure_unwritten();
  status_.state_not_written(why.message);
}

void state_keeper::measure_unwritten() {
  for (; measured_ < changes_.size(); ++measured_) {
    const auto& c = changes_[measured_];
    unwritten_ += sizeof c + c.node.size() + c.stream.size() + c.key.size() + c.value.size();
  }
}

}  // namespace pl::engine
