// SPDX-License-Identifier: Apache-2.0
#include "engine/lane.hpp"

#include "engine/open_alerts.hpp"
#include "engine/signal_stack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t poll_rows = 4096;  // amortises a call; small enough that cells stay in the cache
constexpr std::size_t poll_bytes = std::size_t{1024} * 1024;
constexpr auto poll_timeout = 50ms;    // bounds how long settlements wait for a silent source
constexpr auto tick_interval = 100ms;  // promised in abi.h

machine_clocks clocks_of(const services& common) {
  return common.clock ? machine_clocks::simulated(common.clock) : machine_clocks::system();
}

}  // namespace

lane::lane(std::unique_ptr<instance> source, lane_graph graph, std::shared_ptr<node_meters> meters,
           memory_budget& budget)
    : source_(std::move(source)),
      graph_(std::move(graph)),
      meters_(std::move(meters)),
      budget_(budget),
      status_(*source_, meters_),
      streams_(*source_, status_),
      arrivals_((source_->component().caps & PL_RECORDS_UNREAD) != 0, clocks_of(source_->common())),
      state_(*source_, graph_, streams_, arrivals_, status_),
      router_(*source_, graph_.stores, streams_, state_, status_),
      walk_(graph_, streams_, router_, state_, status_, [this](auto wait) { return wait_before_retry(wait); }),
      claims_(*source_, graph_, streams_, arrivals_, state_, walk_, status_) {
  source_->listen(&claims_);
  share_clocks();
}

lane::~lane() {
  stop();
  abandon();
  join();
  meters_->in_flight_batches.add(-static_cast<double>(reported_));
  source_->listen(nullptr);
}

// --------------------------------------------------------------------------------------------------- on its thread ---

void lane::run() {
  const signal_stack stack;
  loop();
  finish();
  while (!end()) respond_to_requests();
}

// False: there are requests left to respond to.
bool lane::end() {
  std::scoped_lock lock(mutex_);
  if (!requests_.empty()) return false;
  ended_ = true;
  changed_.notify_all();
  return true;
}

void lane::loop() {
  while (!status_.failed() && !complete()) {
    switch (current_phase()) {
      case phase::stopping:
        return;
      case phase::quiescing:
        come_to_quiescence();
        break;
      case phase::running:
        settle();
        run_once();
        break;
    }
  }
}

// Return whether the source has ended and everything is settled. Until then, a reload can exchange the graph.
bool lane::complete() const {
  return at_end_ && (status_.abandoned() || (streams_.in_flight() == 0 && status_.rejoin_reason() == nullptr));
}

lane::phase lane::current_phase() const {
  std::scoped_lock lock(mutex_);
  return phase_;
}

void lane::run_once() {
  walk_.flush(at_end_ || budget_.full());  // if memory is full, no lane reads what would make writes larger
  if (const auto left = retry_at_ - clock::now(); left > 0ns) {
    streams_.wait(std::min<clock::duration>(left, poll_timeout));
    if (!connected_) keep_alive();
    return;
  }
  if (status_.rejoin_reason() != nullptr) return restart_source();
  if (!connected_) return connect();
  if (at_end_) return streams_.wait(poll_timeout);
  if (stray_) return take_stray();
  claims_.report_continued();
  tick_if_due();
  if (status_.failed()) return;
  if (room()) return poll();
  streams_.wait(poll_timeout);
  keep_alive();
}

// Settle what is in flight. From the first call on, the main thread may exchange the graph while the lane is not busy. No
// lock is held while plugins are called: a rebalance waits for what is in flight; a stop or a reload must not wait for it.
void lane::come_to_quiescence() {
  streams_.wait(poll_timeout);
  {
    std::scoped_lock lock(mutex_);
    if (phase_ != phase::quiescing) return;
    busy_ = true;
  }
  const bool quiet = settle_while_paused();
  std::scoped_lock lock(mutex_);
  busy_ = false;
  paused_ = phase_ == phase::quiescing;
  quiescent_ = paused_ && quiet;
  changed_.notify_all();
}

// Return whether nothing is in flight and the state of transforms is stored.
bool lane::settle_while_paused() {
  respond_to_requests();
  settle_streams();
  walk_.flush(streams_.in_flight() != 0);
  keep_alive();
  if (streams_.in_flight() != 0) {
    // What these records have changed must not be lost if a reload replaces the transforms before they are settled.
    if (connected_ && !state_taken_.exchange(true)) state_.snapshot_in_flight();
    return false;
  }
  if (connected_ && !state_stored_.exchange(true)) walk_.snapshot_before_stop();
  return streams_.in_flight() == 0;
}

// ------------------------------------------------------------------------------------------------- starts, retries ---

// Make one attempt to start each part that is not started. `run_once` makes the next attempt, so that the lane can be
// stopped or receive another graph in between.
void lane::connect() {
  status_.phase("connecting");
  if (!source_started_) claims_.clear_refused();
  for (auto& slot : graph_.slots)
    if (!connect(*slot)) return;
  if (!source_started_) source_started_ = start(*source_, source_retry_);
  status_.source_started(source_started_);
  connected_ = source_started_;
  if (connected_) status_.phase({});  // ready only now: clients may start sending once the lane is ready
}

// Start a transform. If it joined a running lane, restore its state of the assigned streams.
bool lane::connect(transform_slot& slot) {
  if (!slot.started) slot.started = start(*slot.unit, slot.retry);
  if (!slot.started || !slot.needs_state) return slot.started;
  const auto restored = state_.restore(slot);
  if (restored.ok()) {
    slot.needs_state = false;
    retry_.reset();
    status_.recovered(*slot.unit, waiting());
  } else if (restored.why().code == status::fatal) {
    status_.fail(*slot.unit, restored.why().message);
  } else {
    retry_later(restored.why(), slot.retry, *slot.unit);
  }
  return restored.ok();
}

bool lane::start(instance& unit, const config::retry_settings& retry) {
  const auto started = unit.start();
  if (started.ok()) {
    retry_.reset();
    status_.recovered(unit, waiting());
  } else if (started.why().code == status::retry || patient_) {
    retry_later(started.why(), retry, unit);
  } else {
    status_.fail(unit, started.why().message);
  }
  return started.ok();
}

std::optional<std::uint64_t> lane::waiting() const {
  return streams_.lag_known() ? std::optional(streams_.lag()) : std::nullopt;
}

void lane::retry_later(const failure& failed, const config::retry_settings& retry, instance& unit) {
  if (!retry_) retry_.emplace(retry);
  retry_at_ = clock::now() + status_.retry_after(failed, *retry_, unit);
}

// Wait for a transform in the middle of a batch. False: the lane must stop.
bool lane::wait_before_retry(std::chrono::nanoseconds wait) {
  const auto until = clock::now() + wait;
  while (clock::now() < until) {
    if (current_phase() == phase::stopping || status_.abandoned()) return false;
    streams_.wait(until - clock::now());
    settle();
  }
  return true;
}

// Restart the source with new claims. What is in flight under the old claims is settled first, or read again.
void lane::restart_source() {
  status_.phase(fmt::format("{}; waiting until what is in flight is written", status_.rejoin_reason()));
  walk_.flush(true);
  claims_.read_again_in_outage();
  walk_.release_lost();
  streams_.wait(streams_.in_flight() != 0 ? poll_timeout : 0ns);
  settle();
  if (streams_.in_flight() != 0) return keep_alive();
  if (status_.rejoin_reason() == transforms_changed) walk_.store_settled();  // of the transforms that were replaced
  if (streams_.in_flight() != 0) return keep_alive();
  walk_.flush(false);
  status_.source_started(false);
  if (source_started_) {
    source_->log(telemetry::log_level::warn, fmt::format("{}; the source starts again", status_.rejoin_reason()));
    meters_->restarts.add();
    stop(*source_);
  }
  stray_ = {};
  at_end_ = false;
  streams_.clear();
  arrivals_.clear();
  claims_.clear();
  state_.clear();
  for (auto& slot : graph_.slots) slot->needs_state = false;  // all streams are assigned again, and then restored
  status_.rejoined();
  connected_ = source_started_ = false;
}

// --------------------------------------------------------------------------------------------------------- reading ---

bool lane::room() const { return !budget_.full() && walk_.sinks_have_room() && state_.has_room(); }

void lane::poll() {
  auto polled = source_->poll(poll_rows, poll_bytes, streams_.in_flight() != 0 ? poll_timeout : tick_interval);
  if (polled.ok()) {
    retry_.reset();
    status_.recovered(*source_, waiting());
    return take(*std::move(polled));
  }
  const auto& failed = polled.why();
  if (failed.code == status::retry) return retry_later(failed, source_retry_, *source_);
  retry_.reset();
  switch (failed.code) {
    case status::again:
      return status_.recovered(*source_, waiting());
    case status::end:
      at_end_ = true;
      return;
    case status::fenced:
      source_->log(telemetry::log_level::warn, failed.message);
      return status_.rejoin("another member of the group has taken its place");
    default:
      return status_.fail(*source_, failed.message);
  }
}

void lane::take(batch_ref batch) {
  if (const auto stream = unassigned_stream(*batch); !stream.empty())
    return status_.fail(*source_, violation_sentence(pl::view(source_->component().name), "poll",
                                                     fmt::format("it returned records of stream '{}', which it has not "
                                                                 "assigned (pl_host.assigned)",
                                                                 stream)));
  streams_.begin_read(*batch);
  report_in_flight();
  const auto made = arrivals_.read(*batch) ? walk_.complete(*batch) : fatal("out of memory");
  if (!made.ok()) return batch->mark_undelivered(), status_.fail(*source_, made.why().message);
  meters_->received(*batch);
  meters_->emitted(*batch);
  walk_.process(std::move(batch));
}

// Return a stream of the batch that is not assigned, so that its position in the sinks is not known; empty: none. Without
// sinks that keep positions, a source need not assign its streams.
std::string lane::unassigned_stream(record_batch& batch) {
  if (graph_.stores.empty()) return {};
  for (const auto& r : batch.view().ranges())
    if (streams_.find(pl::view(r.stream)) == nullptr) return std::string(pl::view(r.stream));
  return {};
}

// Process a batch that arrived while there was no room. If a stream was revoked since, its next owner reads the records.
void lane::take_stray() {
  auto batch = std::exchange(stray_, {});
  if (unassigned_stream(*batch).empty()) return take(std::move(batch));
  status_.rejoin("a stream was revoked while its records waited for room");
}

// Poll for no records while there is no room, so that the lane's streams are not revoked. A batch that arrives
// nevertheless is kept for later.
void lane::keep_alive() {
  if (!source_started_) return;
  auto polled = source_->poll(0, 0, 0ns);
  if (!polled.ok()) {
    if (polled.why().code == status::fatal) status_.fail(*source_, polled.why().message);
  } else if (!stray_) {
    stray_ = *std::move(polled);
  }
}

void lane::tick_if_due() {
  const auto& simulated = source_->common().clock;
  const auto now = simulated ? std::chrono::nanoseconds(simulated->now_ns()) : clock::now().time_since_epoch();
  if (now < next_tick_) return;
  next_tick_ = now + tick_interval;
  walk_.tick();
  streams_.show_clocks(arrivals_);
}

void lane::respond_to_requests() {
  std::vector<std::pair<std::shared_ptr<alert_request>, std::string>> asked;
  {
    std::scoped_lock lock(mutex_);
    asked.swap(requests_);
  }
  for (const auto& [request, name] : asked) request->respond(name, open_alerts(graph_));
}

void lane::settle() {
  respond_to_requests();
  settle_streams();
  walk_.join_stored();
}

void lane::settle_streams() {
  streams_.settle();
  report_in_flight();
}

void lane::report_in_flight() {
  const auto now = streams_.in_flight();
  meters_->in_flight_batches.add(static_cast<double>(now) - static_cast<double>(std::exchange(reported_, now)));
}

// ---------------------------------------------------------------------------------------------------------- ending ---

// Wait until nothing is in flight, or `abandon`.
void lane::drain() {
  walk_.flush(true);
  while (streams_.in_flight() != 0 && !status_.abandoned() && !status_.failed()) {
    streams_.wait(poll_timeout);
    settle();
    keep_alive();
  }
  walk_.flush(false);
  stray_ = {};  // not processed: its records are read again after the next start
}

// A transform that a reload has started, and that has not restored its state yet, must not replace what is stored.
bool lane::transforms_have_state() const {
  return std::ranges::all_of(graph_.slots, [](const auto& slot) { return slot->started && !slot->needs_state; });
}

void lane::finish() {
  if (!status_.failed()) status_.phase("stopping");
  status_.source_started(false);
  claims_.report_continued();
  drain();
  settle();
  if (!status_.failed() && !status_.abandoned() && source_started_) {
    transforms_have_state() ? walk_.snapshot_before_stop() : walk_.store_settled();
    drain();
    settle();
  }
  if (source_started_) stop(*source_);
  for (auto& slot : graph_.slots)
    if (slot->started) stop(*slot->unit);
  if (!status_.failed()) status_.phase("stopped");
}

void lane::stop(instance& unit) {
  const auto stopped = unit.stop();
  if (stopped.ok()) return;
  if (unit.broken()) return status_.fail(unit, stopped.why().message);
  unit.log(telemetry::log_level::warn, fmt::format("did not stop cleanly: {}", stopped.why().message));
}

}  // namespace pl::engine
