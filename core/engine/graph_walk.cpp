// SPDX-License-Identifier: Apache-2.0
#include "engine/graph_walk.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

batch_group one(batch_ref b) {
  batch_group group;
  group.push_back(std::move(b));
  return group;
}

}  // namespace

void graph_walk::process(batch_ref batch) {
  const auto root = batch_ref::share(*batch);
  deliver(graph_.source, one(std::move(batch)));
  router_.finish(root.get());
}

result<void> graph_walk::complete(record_batch& batch) const {
  if (batch.late() == nullptr) return {};
  return batch.late()->make_used(batch, graph_.demand);
}

void graph_walk::deliver(const port_readers& to, const batch_group& batches) {
  for (auto* slot : to.transforms)
    for (const auto& b : batches) apply(*slot, batch_ref::share(*b));
  for (const auto& sink : to.sinks) router_.route(*sink, batches);
}

void graph_walk::apply(transform_slot& slot, batch_ref batch) {
  if (status_.failed()) return batch->mark_undelivered();
  backoff pause(slot.retry);
  while (true) {
    call_effects effects;
    const auto applied = slot.unit->apply(*batch, effects);
    if (applied.ok()) {
      if (pause.attempts() != 0) status_.recovered(*slot.unit, streams_.lag());
      slot.meters->received(*batch);
      return pass_on(slot, effects);
    }
    auto* input = batch.get();
    effects.discard({&input, 1});
    const auto& failed = applied.why();
    if (failed.code == status::reject) return bisect(slot, *batch, failed);
    const bool temporary = failed.code == status::retry;
    if (temporary && !pause.exhausted() && wait_(status_.retry_after(failed, pause, *slot.unit))) continue;
    batch->mark_undelivered();
    if (!temporary || pause.exhausted()) status_.fail(*slot.unit, failed.message);
    return;
  }
}

// Apply the effects of a call that succeeded.
void graph_walk::pass_on(transform_slot& slot, call_effects& effects) {
  state_.collect(effects);
  router_.drop_settled(effects.rejected);
  if (!effects.rejected.empty()) {
    slot.meters->rejected(effects.rejected.size());
    status_.events().rows_rejected(effects.rejected, slot.unit->node());
  }
  for (std::size_t port = 0; port < slot.ports.size(); ++port) {
    batch_group batches;
    for (auto& e : effects.emitted)
      if (e.data && e.port == port) {
        slot.meters->emitted(*e.data);
        batches.push_back(std::move(e.data));
      }
    if (!batches.empty()) deliver(slot.ports[port], batches);
  }
}

void graph_walk::bisect(transform_slot& slot, record_batch& batch, const failure& refused) {
  const auto selection = batch.view().selection();
  const std::vector<std::uint32_t> rows(selection.begin(), selection.end());
  if (rows.size() <= 1) {
    call_effects effects;
    for (const auto row : rows) effects.rejected.push_back({batch_ref::share(batch), row, refused.message});
    return pass_on(slot, effects);
  }
  const std::span all(rows);
  for (const auto half : {all.first(rows.size() / 2), all.subspan(rows.size() / 2)}) {
    auto part = select_rows(batch.pool(), batch, half);
    if (!part) return batch.mark_undelivered(), status_.fail(*slot.unit, "out of memory");
    apply(slot, std::move(part));
  }
}

// ---------------------------------------------------------------------------------------------------------- timers ---

void graph_walk::tick() {
  // The sinks would not take what timers emit at a position that they have already.
  const bool wait = streams_.reads_again();
  for (auto& slot : graph_.slots) {
    if (wait) break;
    call_effects effects;
    const std::chrono::nanoseconds now(slot->unit->common().wall_ns());
    const auto ticked = slot->unit->tick(now, effects);
    if (ticked.ok()) {
      begin_timer_batches(*slot, effects);
      pass_on(*slot, effects);
    } else if (effects.discard({}); ticked.why().code == status::fatal) {
      return status_.fail(*slot->unit, ticked.why().message);
    }
  }
  state_.collect_delivered();
  state_.snapshot_if_due();
  router_.finish(nullptr);
}

// Put the batches that `tick` made in flight, each at its stream's current position, like batches that were read.
void graph_walk::begin_timer_batches(const transform_slot& slot, call_effects& effects) {
  for (const auto& [batch, name] : effects.timer_batches) {
    auto* stream = streams_.find(name);
    if (stream == nullptr || batch->nranges != 0) continue;
    if (!streams_.begin_timer(*batch, {&stream, 1})) return status_.fail(*slot.unit, "out of memory");
  }
}

void graph_walk::snapshot_before_stop() {
  state_.write_soon();
  store_delivered();
  if (state_.heavy()) return;
  state_.snapshot_now();
  router_.finish(nullptr);
}

void graph_walk::store_delivered() {
  state_.collect_delivered();
  router_.finish(nullptr);
}

void graph_walk::store_settled() {
  state_.collect_delivered();
  state_.collect_settled();
  router_.finish(nullptr);
}

// ----------------------------------------------------------------------------------------------------------- sinks ---

bool graph_walk::sinks_have_room() const {
  return std::none_of(graph_.sinks.begin(), graph_.sinks.end(), [](const auto& s) { return s->blocks_lanes(); });
}

bool graph_walk::flush(bool on) {
  const bool before = std::exchange(flushing_, on);
  if (before != on)
    for (auto& sink : graph_.sinks) sink->flush(on);
  return before;
}

void graph_walk::release_lost() {
  for (auto& sink : graph_.sinks) sink->release_lost();
}

// The time that this takes is proportional to the number of entries. It is a hundredth of the lane's time at most.
void graph_walk::join_stored() {
  const auto begin = std::chrono::steady_clock::now();
  if (begin < join_at_) return;
  for (auto& sink : graph_.sinks) sink->join_stored(streams_.inbox());
  const auto end = std::chrono::steady_clock::now();
  join_at_ = end + std::max<std::chrono::nanoseconds>(10ms, 100 * (end - begin));
}

}  // namespace pl::engine
