// SPDX-License-Identifier: Apache-2.0
// How a pipeline replaces a running one.
#include "config/load.hpp"
#include "engine/pipeline.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

using clock = std::chrono::steady_clock;

constexpr auto slice = 20ms;
constexpr auto write_patience = 5s;  // for sinks that work, before a reload leaves what they have queued to them

std::string records(std::uint64_t n) {
  return fmt::format("{} record{}", telemetry::format_count(n), n == 1 ? "" : "s");
}

}  // namespace

reload_plan pipeline::plan_replacing(const pipeline& running) const { return plan_reload(running.bound_, bound_); }

std::optional<config::pipeline> pipeline::settings_with_changed_files() const {
  auto again = settings();
  bool changed = config::read_secrets_again(again, config::process_environment());
  for (const auto* list : {&bound_.sources, &bound_.transforms, &bound_.sinks})
    for (const auto& n : *list) changed = changed || !n.options->changed_files().empty();
  return changed ? std::optional(std::move(again)) : std::nullopt;
}

// ------------------------------------------------------------------------------------------------------- quiescing ---

bool pipeline::quiesce(std::chrono::nanoseconds timeout, const pipeline& successor) {
  const auto plan = successor.plan_replacing(*this);
  const auto deadline = clock::now() + timeout;
  if (!quiescing_since_) quiescing_since_ = clock::now();
  do {
    bool idle = true;
    for (auto& l : lanes_) idle = l.unit->quiesce(std::min<clock::duration>(slice, timeout)) && idle;
    if (idle || can_hand_over(plan)) return true;
  } while (clock::now() < deadline);
  return false;
}

// A lane that is replaced must have settled everything that it read. The others keep what is in flight.
bool pipeline::lanes_can_hand_over(const reload_plan& plan) const {
  return std::ranges::all_of(
      lanes_, [&](const auto& l) { return l.unit->quiescent() || (plan.keeps(l.source) && l.unit->paused()); });
}

// Return whether the successor can start although not everything is written. A kept sink keeps its queue. The writers of
// every other sink must have ended, so that another sink can take the queue over.
bool pipeline::can_hand_over(const reload_plan& plan) {
  const bool patient = clock::now() - *quiescing_since_ < write_patience;
  bool stuck = false, works = false;
  for (const auto& sink : sinks_)
    if (sink->unwritten().groups != 0) (sink->failing() ? stuck : works) = true;
  if (!lanes_can_hand_over(plan) || (patient && (works || !stuck))) return false;
  bool held = true;
  for (auto& sink : sinks_)
    if (!plan.keeps(sink->name())) {
      sink->hold();
      held = held && sink->held();
    }
  return held;
}

std::string pipeline::why_not_quiescent(const pipeline& successor) const {
  const auto plan = successor.plan_replacing(*this);
  std::string why;
  const auto add = [&](std::string more) { why += (why.empty() ? "" : "; ") + std::move(more); };
  for (const auto& sink : sinks_)
    if (const auto left = sink->unwritten(); left.groups != 0)
      add(fmt::format("sink {} has not written {}{}", sink->name(), records(left.rows),
                      sink->waiting_for().empty() ? "" : ": " + sink->waiting_for()));
  for (const auto& l : lanes_)
    if (!l.unit->quiescent() && !plan.keeps(l.source))
      add(fmt::format("source {} changes, which needs all its records to be written first", l.source));
    else if (!l.unit->quiescent() && !l.unit->paused())
      add(fmt::format("source {} is in the middle of a batch", l.source));
  return why;
}

void pipeline::resume() {
  quiescing_since_.reset();
  for (auto& sink : sinks_) sink->release();
  for (auto& l : lanes_) l.unit->resume();
}

// ------------------------------------------------------------------------------------------------------- replacing ---

void pipeline::replace(pipeline& running) {
  const auto plan = plan_replacing(running);
  for (const auto& line : plan.lines())
    common_.log.report(telemetry::log_level::info, settings().name, {}, "reload: " + line);
  if (const auto kept = plan.kept(); !kept.empty())
    common_.log.report(telemetry::log_level::info, settings().name, {},
                       fmt::format("reload: keep: {}", fmt::join(kept, ", ")));
  warn_of_default_dead_letters();
  limit_calls();
  memory_->budget.set_limit(settings().memory_limit / 2);
  started_at_ = running.started_at_;
  if (!adopt_sinks(running, plan))
    for (auto& l : running.lanes_) l.unit->read_again("a changed sink cannot write what was queued");
  adopt_lanes(running, plan);
  // Destroying the replaced pipeline must not end a dead-letter sink that is kept.
  if (running.dead_letters_.sink() == dead_letters_.sink()) running.dead_letters_.write_to(nullptr);
  for (const auto& n : plan.nodes)
    if (n.action == reload_action::remove) common_.metrics.remove(settings().name, n.node);
}

// Take over the kept sinks, with their connections and queues, and what the others have not written. Return whether all
// of that can be written.
bool pipeline::adopt_sinks(pipeline& running, const reload_plan& plan) {
  for (auto& mine : sinks_) {
    if (!plan.keeps(mine->name())) continue;
    const auto theirs = find_sink(running.sinks_, mine->name());
    std::erase(running.sinks_, theirs);
    if (mine == dead_letters_.sink()) dead_letters_.write_to(theirs);
    mine = theirs;
  }
  // From here on, rejected rows reach the dead-letter sink of this pipeline.
  for (auto& sink : sinks_) sink->report_to(*this);
  bool all = true;
  // Finish the others before their successors start, because a file or a client id has one owner.
  for (auto& sink : running.sinks_)
    if (sink->held())
      all = take_queue(*sink, plan) && all;
    else
      sink->finish();
  for (auto& sink : sinks_) sink->start(true);
  return all;
}

// Let the sink of the same name write what a held sink has queued. False: none can, so the records must be read again.
bool pipeline::take_queue(sink_node& from, const reload_plan& plan) {
  const auto rows = from.unwritten().rows;
  auto groups = from.take_unwritten();
  if (std::ranges::all_of(groups, [](const auto& of_writer) { return of_writer.empty(); })) return true;
  const auto to = find_sink(sinks_, from.name());
  if (to != nullptr && plan.takes_queue(from.name()) && to->take_over(groups)) {
    common_.log.info(settings().name, from.name(), "reload: takes over {} that could not be written", records(rows));
    return true;
  }
  common_.log.warn(settings().name, from.name(), "reload: {} that could not be written are read again", records(rows));
  for (auto& of_writer : groups)
    for (auto& group : of_writer) group.mark_undelivered();
  return false;
}

void pipeline::adopt_lanes(pipeline& running, const reload_plan& plan) {
  for (auto& old : running.lanes_)
    if (!plan.keeps(old.source)) old.unit->stop(), old.unit->join();
  for (auto& mine : lanes_) {
    mine.unit->graph().use(sinks_);
    const auto old = std::find_if(running.lanes_.begin(), running.lanes_.end(),
                                  [&](const auto& l) { return l.unit && l.source == mine.source; });
    if (old != running.lanes_.end() && plan.keeps(mine.source))
      adopt_lane(mine, *old, plan);
    else
      mine.unit->start(*this, true);
  }
  std::erase_if(running.lanes_, [](const auto& l) { return l.unit == nullptr; });
}

// Take over a kept lane, and the instances of kept transforms with their state.
void pipeline::adopt_lane(running_lane& mine, running_lane& theirs, const reload_plan& plan) {
  auto graph = std::move(mine.unit->graph());
  for (auto& slot : graph.slots)
    for (auto& old : theirs.unit->graph().slots)
      if (old->unit->node() == slot->unit->node() && plan.keeps(slot->unit->node())) {
        slot->unit = old->unit;
        slot->started = old->started;
        slot->needs_state = old->needs_state;
      }
  mine.unit = std::move(theirs.unit);
  const auto before = mine.unit->exchange_graph(std::move(graph), *this);
  warn_of_unused_state(before, mine.unit->graph());
  for (const auto& slot : before.slots) {
    if (!slot->started || slot->unit.use_count() != 1) continue;
    (void)slot->unit->stop();
    if (slot->unit->left_undelivered()) mine.unit->read_again("a changed transform held records back");
  }
}

void pipeline::warn_of_unused_state(const lane_graph& before, const lane_graph& now) const {
  for (const auto& slot : before.slots)
    if (const auto& node = slot->unit->node(); slot->unit->stateful() && now.find(node) == nullptr)
      common_.log.warn(settings().name, node,
                       "this transform is no longer configured: its stored state stays stored, and is no longer used");
}

}  // namespace pl::engine
