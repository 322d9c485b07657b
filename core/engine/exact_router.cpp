// SPDX-License-Identifier: Apache-2.0
#include "engine/exact_router.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace pl::engine {

void exact_router::route(sink_node& sink, const batch_group& batches) {
  gathered_.resize(stores_.size());
  if (const auto store = stores_.index_of(sink)) {
    for (const auto& b : batches) gathered_[*store].push_back(batch_ref::share(*b));
    return;
  }
  batch_group direct;
  for (const auto& b : batches)
    if (auto part = trim_settled(batch_ref::share(*b))) direct.push_back(std::move(part));
  if (direct.empty()) return;
  // What a transform stores with its output must not be older than what is published.
  if (stores_.empty()) state_.write_locally();
  sink.push(std::move(direct));
}

void exact_router::finish(record_batch* root) {
  gathered_.resize(stores_.size());
  if (stores_.empty()) return state_.write_locally();
  const auto changes = state_.take_changes(root);
  batch_ref made;
  if (root == nullptr && !changes.empty()) {
    made = timer_root(changes);
    root = made.get();
  }
  // If a part of the batch is missing, the positions must not move past it.
  const bool whole = !status_.failed() && (root == nullptr || !root->undelivered());
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    const auto gathered = std::exchange(gathered_[i], {});
    batch_group all;
    if (!whole)
      for (const auto& b : gathered) b->mark_undelivered();
    else if (group_for(i, gathered, root, changes, all) && !all.empty())
      stores_.sink(i).push(std::move(all));
  }
}

bool exact_router::group_for(std::size_t store, const batch_group& gathered, record_batch* root,
                             const std::vector<state_change>& changes, batch_group& all) {
  try {
    for (const auto& b : gathered)
      if (auto part = trim_for(batch_ref::share(*b), store)) all.push_back(std::move(part));
    if (root != nullptr)
      if (auto positions = position_only(*root, store, changes)) all.push_back(std::move(positions));
    return true;
  } catch (const std::bad_alloc&) {
    for (const auto& b : gathered) b->mark_undelivered();
    if (root != nullptr) root->mark_undelivered();
    status_.fail(source_, "out of memory");
    return false;
  }
}

// Make a root for the state changes of a tick: no rows, and an empty range at the current position of each changed
// stream.
batch_ref exact_router::timer_root(const std::vector<state_change>& changes) {
  static const pl_schema no_columns{0, nullptr};
  batch_ref made(new (std::nothrow) record_batch(source_.pool(), nullptr, &no_columns, 0));
  std::vector<assigned_stream*> touched;
  for (const auto& c : changes)
    if (auto* s = streams_.find(c.stream); s != nullptr && std::ranges::count(touched, s) == 0) touched.push_back(s);
  if (made && streams_.begin_timer(*made, touched)) return made;
  status_.fail(source_, "out of memory");
  return {};
}

// Make a position-only batch with the ranges of a root that a store still needs. Null: the store has all records
// already.
batch_ref exact_router::position_only(record_batch& root, std::size_t store,
                                      const std::vector<state_change>& changes) const {
  auto empty = select_rows(root.pool(), root, {});
  if (!empty) throw std::bad_alloc();
  auto positions = trim_for(std::move(empty), store);
  if (positions && !set_changes(*positions, changes_for(*positions, store, changes))) throw std::bad_alloc();
  return positions;
}

// Return the changes of streams whose state this store keeps, copied into the batch's memory.
std::vector<pl_state_change> exact_router::changes_for(record_batch& to, std::size_t store,
                                                       const std::vector<state_change>& changes) const {
  const auto copied = [&](const std::string& text) -> pl_str {
    auto* p = static_cast<char*>(to.alloc(std::max<std::size_t>(1, text.size()), 1));
    if (p == nullptr) throw std::bad_alloc();
    std::copy(text.begin(), text.end(), p);
    return {p, text.size()};
  };
  std::vector<pl_state_change> raw;
  for (const auto& c : changes) {
    const auto* s = streams_.find(c.stream);
    if (s == nullptr || s->claim.state_store != store) continue;
    for (std::uint32_t r = 0; r < to.nranges; ++r)
      if (pl::view(to.ranges[r].stream) == c.stream)
        raw.push_back({r, c.erase ? 1U : 0U, copied(c.node), copied(c.key), copied(c.value)});
  }
  return raw;
}

// Remove the records below each stream's floor. Null: no range is left.
template <class Floor>
batch_ref exact_router::trim(batch_ref batch, Floor&& floor_of) const {
  const auto floor_at = [&](const pl_range& r) -> std::uint64_t {
    const auto* s = streams_.find(pl::view(r.stream));
    return s == nullptr ? 0 : floor_of(s->claim);
  };
  const auto ranges = batch->view().ranges();
  if (std::none_of(ranges.begin(), ranges.end(), [&](const auto& r) { return r.first < floor_at(r); })) return batch;
  std::vector<std::uint64_t> floor;
  for (const auto& r : ranges) floor.push_back(floor_at(r));
  if (std::all_of(ranges.begin(), ranges.end(), [&](const auto& r) { return r.next <= floor_at(r); })) return {};
  const auto view = batch->view();
  std::vector<std::uint32_t> rows;
  for (const auto row : view.selection()) {
    const auto& range = ranges[view.origin(row)];
    const auto position = view.has_positions() ? view.position(row) : range.next - 1;
    if (position >= floor[view.origin(row)]) rows.push_back(row);
  }
  auto part = select_rows(batch->pool(), *batch, rows);
  auto* fresh =
      part ? static_cast<pl_range*>(part->alloc(sizeof(pl_range) * ranges.size(), alignof(pl_range))) : nullptr;
  if (fresh == nullptr) throw std::bad_alloc();
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    fresh[i] = ranges[i];
    fresh[i].first = std::max(ranges[i].first, floor[i]);
    fresh[i].next = std::max(ranges[i].next, floor[i]);
  }
  part->ranges = fresh;
  return part;
}

batch_ref exact_router::trim_for(batch_ref batch, std::size_t store) const {
  return trim(std::move(batch), [store](const stream_claim& c) { return c.next[store]; });
}

batch_ref exact_router::trim_settled(batch_ref batch) {
  try {
    return trim(std::move(batch), [](const stream_claim& c) { return c.settled; });
  } catch (const std::bad_alloc&) {
    status_.fail(source_, "out of memory");
    return {};
  }
}

void exact_router::drop_settled(std::vector<rejection>& rejected) const {
  std::erase_if(rejected, [&](const rejection& r) {
    const auto view = r.of->view();
    const auto* s = streams_.find(view.stream(r.row));
    return s != nullptr && view.has_positions() && view.position(r.row) < s->claim.settled;
  });
}

}  // namespace pl::engine
