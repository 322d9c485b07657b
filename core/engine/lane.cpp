// SPDX-License-Identifier: Apache-2.0
#include "engine/lane.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t poll_rows = 4096;  // amortises a call; small enough that cells stay in the cache
constexpr std::size_t poll_bytes = std::size_t{1024} * 1024;
constexpr auto poll_timeout = 50ms;    // bounds how long settled news and ticks wait on a silent source
constexpr auto tick_interval = 100ms;  // promised in abi.h
constexpr auto lost_timeout = 10s;     // a rebalance mustn't wait longer for what is in flight

std::vector<batch_ref> one(batch_ref b) {
  std::vector<batch_ref> all;
  all.push_back(std::move(b));
  return all;
}

}  // namespace

lane::lane(std::unique_ptr<instance> source, lane_graph graph, std::shared_ptr<node_meters> meters,
           memory_budget& budget)
    : source_(std::move(source)), graph_(std::move(graph)), meters_(std::move(meters)), budget_(budget) {
  source_->listen(this);
}

lane::~lane() {
  stop();
  abandon();
  join();
}

// ------------------------------------------------------------------------------------------- from other threads ---

void lane::start(pipeline_events& events) {
  events_ = &events;
  thread_ = std::thread([this] { run(); });
}

void lane::stop() {
  std::scoped_lock lock(mutex_);
  phase_ = phase::stopping;
  changed_.notify_all();
  inbox_.wake();
}

void lane::abandon() {
  abandoned_ = true;
  inbox_.wake();
}

void lane::join() {
  if (thread_.joinable()) thread_.join();
}

bool lane::pause(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  if (phase_ == phase::running) phase_ = phase::paused;
  quiet_ = false;
  inbox_.wake();
  return changed_.wait_for(lock, timeout, [&] { return quiet_ || ended_; });
}

void lane::resume() {
  std::scoped_lock lock(mutex_);
  if (phase_ == phase::paused) phase_ = phase::running;
  quiet_ = false;
  inbox_.wake();
}

lane_graph lane::exchange_graph(lane_graph fresh, pipeline_events& events) {
  std::scoped_lock lock(mutex_);  // a quiet lane touches its graph under this lock only
  events_ = &events;
  connected_ = false;  // there may be transforms to start
  return std::exchange(graph_, std::move(fresh));
}

// -------------------------------------------------------------------------------------------------- the lane's own ---

void lane::run() {
  loop();
  finish();
  ended_ = true;
  std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

// One try to start whatever isn't started; the next one comes by `run_once`, so that meanwhile a lane can be stopped, or
// get another graph.
void lane::connect() {
  state_.waiting_for("connecting");
  for (auto& slot : graph_.slots) {
    if (!slot->started) slot->started = start(*slot->unit, slot->retry);
    if (!slot->started) return;
  }
  if (!source_started_) source_started_ = start(*source_, source_retry_);
  connected_ = source_started_;
}

bool lane::start(instance& unit, const config::retry_settings& retry) {
  const auto started = unit.start();
  if (started.ok()) {
    come_again_.reset();
    state_.waiting_for({});
  } else if (started.code == PL_RETRY) {
    try_later(started, retry, unit);
  } else {
    fail(unit, started.text());
  }
  return started.ok();
}

// Says why, and lets `run_once` rest for a while.
void lane::try_later(const outcome& failed, const config::retry_settings& retry, instance& unit) {
  if (!come_again_) come_again_.emplace(retry);
  retry_at_ = clock::now() + announce(failed, *come_again_, unit);
}

std::chrono::nanoseconds lane::announce(const outcome& failed, backoff& pause, instance& unit) {
  const auto wait = pause.next();
  meters_->retries.add();
  state_.waiting_for("retrying: " + failed.text());
  unit.log(telemetry::log_level::warn, fmt::format("{}; try {} in {:.1f} s", failed.text(), pause.tries() + 1,
                                                   std::chrono::duration<double>(wait).count()));
  return wait;
}

// Waits before the next try; false when the lane is to stop instead.
bool lane::wait_out(const outcome& failed, backoff& pause, instance& unit) {
  const auto until = clock::now() + announce(failed, pause, unit);
  while (clock::now() < until) {
    {
      std::scoped_lock lock(mutex_);
      if (phase_ == phase::stopping) return false;
    }
    if (abandoned_) return false;
    inbox_.wait(until - clock::now());
    settle();
  }
  return true;
}

void lane::loop() {
  while (!failed_ && !at_end_) {
    settle();
    switch (current_phase()) {
      case phase::stopping:
        return;
      case phase::paused:
        hold_still();
        break;
      case phase::running:
        run_once();
        break;
    }
  }
}

lane::phase lane::current_phase() const {
  std::scoped_lock lock(mutex_);
  return phase_;
}

void lane::run_once() {
  hurry_sinks(false);
  if (const auto left = retry_at_ - clock::now(); left > 0ns)
    return inbox_.wait(std::min<clock::duration>(left, poll_timeout));
  if (!connected_) return connect();
  if (stray_) return take(std::exchange(stray_, {}));
  tick_if_due();
  if (failed_) return;
  if (room()) return poll_once();
  inbox_.wait(poll_timeout);
  keep_alive();
}

// Paused: what is in flight comes to its end, and then nothing touches the graph until `resume`.
void lane::hold_still() {
  inbox_.wait(poll_timeout);
  settle();
  std::scoped_lock lock(mutex_);  // once it is quiet, somebody may exchange the graph
  hurry_sinks(in_flight_ != 0);
  keep_alive();
  if (phase_ != phase::paused || in_flight_ != 0) return;
  quiet_ = true;
  changed_.notify_all();
}

// The group must not take our streams away while there is no room. What comes all the same waits.
void lane::keep_alive() {
  if (!source_started_) return;
  batch_ref stray;
  const auto polled = source_->poll(0, 0, 0ns, stray);
  if (stray && !stray_) stray_ = std::move(stray);
  if (polled.code == PL_FATAL) fail(*source_, polled.text());
}

void lane::hurry_sinks(bool on) {
  if (std::exchange(hurried_, on) == on) return;
  for (auto& sink : graph_.sinks) sink->hurry(on);
}

bool lane::room() const {
  return !budget_.full() &&
         std::none_of(graph_.sinks.begin(), graph_.sinks.end(), [](const auto& s) { return s->full(); });
}

void lane::poll_once() {
  batch_ref batch;
  const auto polled = source_->poll(poll_rows, poll_bytes, poll_timeout, batch);
  if (polled.code != PL_RETRY) come_again_.reset();
  switch (polled.code) {
    case PL_OK:
      state_.waiting_for({});
      return take(std::move(batch));
    case PL_AGAIN:
      return;
    case PL_END:
      at_end_ = true;
      return;
    case PL_RETRY:
      return try_later(polled, source_retry_, *source_);
    case PL_FENCED:
      return restart_source(polled);
    default:
      return fail(*source_, polled.text());
  }
}

// Somebody else has what was ours: begin again, with fresh claims.
void lane::restart_source(const outcome& why) {
  source_->log(telemetry::log_level::warn, fmt::format("{}; the source starts again", why.text()));
  meters_->restarts.add();
  (void)source_->stop();
  streams_.clear();
  lag_ = 0;
  connected_ = source_started_ = false;
}

std::shared_ptr<stream_state>& lane::stream(std::string_view name, std::uint64_t first) {
  auto at = streams_.find(name);
  if (at == streams_.end()) {
    at = streams_.emplace(name, tracked{std::make_shared<stream_state>(std::string(name), first)}).first;
    namespace em = telemetry::engine_metrics;
    auto& metrics = source_->common().metrics;
    at->second.state->lag = metrics.get(em::lag_records, source_->pipeline(), source_->node(), name);
    at->second.state->settled_position = metrics.get(em::settled_position, source_->pipeline(), source_->node(), name);
  }
  return at->second.state;
}

void lane::note_lag(stream_state& s, std::uint64_t end) {
  if (end == PL_UNKNOWN) return;
  const auto lag = end > s.position() ? end - s.position() : 0;
  s.lag.set(static_cast<double>(lag));
  lag_known_ = true;
  auto& noted = streams_.find(s.name())->second.lag;
  lag_ += lag - noted;  // unsigned: wraps back
  noted = lag;
}

// A batch as the source read it: its ranges join on to what was read before, and are in flight from now on.
void lane::take(batch_ref batch) {
  if (batch->nranges == 0 && batch->rows != 0)
    return fail(*source_,
                fmt::format("plugin {} read rows without a range: it is broken", pl::view(source_->component().name)));
  std::vector<flight> flights;
  auto* ranges = const_cast<pl_range*>(batch->ranges);  // the batch's own memory, not handed on yet
  for (std::uint32_t i = 0; i < batch->nranges; ++i) {
    auto& r = ranges[i];
    auto& s = stream(pl::view(r.stream), r.first);
    if (s->position() < r.first) r.first = s->position();
    flights.push_back({s, s->begin(r.next)});
    note_lag(*s, r.end);
  }
  batch->track(inbox_, std::move(flights));
  ++in_flight_;
  meters_->in_flight_batches.set(static_cast<double>(in_flight_));
  meters_->took(*batch);
  meters_->gave(*batch);
  deliver(graph_.source, one(std::move(batch)));
}

void lane::settle() {
  std::map<stream_state*, std::uint64_t> moved;  // from where
  std::vector<std::shared_ptr<stream_state>> alive;
  for (auto& report : inbox_.take()) {
    --in_flight_;
    for (auto& f : report.flights) {
      const auto before = f.stream->settled();
      if (!f.stream->report(f.number, report.delivered)) continue;
      moved.try_emplace(f.stream.get(), before);
      alive.push_back(std::move(f.stream));
    }
  }
  meters_->in_flight_batches.set(static_cast<double>(in_flight_));
  std::vector<pl_range> ranges;
  for (const auto& [s, before] : moved) {
    const auto current = streams_.find(s->name());
    if (current == streams_.end() || current->second.state.get() != s) continue;  // lost since
    s->settled_position.set(static_cast<double>(s->settled()));
    ranges.push_back({borrow(s->name()), before, s->settled(), PL_UNKNOWN, 0});
  }
  if (!ranges.empty()) (void)source_->settle(ranges);
}

void lane::tick_if_due() {
  const auto now = clock::now();
  if (now < next_tick_) return;
  next_tick_ = now + tick_interval;
  const auto wall =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch());
  for (auto& slot : graph_.slots) {
    yield left;
    const auto ticked = slot->unit->tick(wall, left);
    if (ticked.ok())
      hand_on(*slot, left);
    else if (left.fail({}); ticked.code == PL_FATAL)
      return fail(*slot->unit, ticked.text());
  }
}

// ------------------------------------------------------------------------------------------------ through the graph ---

void lane::deliver(const port_readers& to, const group& batches) {
  for (auto* slot : to.transforms)
    for (const auto& b : batches) apply(*slot, batch_ref::share(*b));
  for (const auto& sink : to.sinks) {
    group copies;
    copies.reserve(batches.size());
    for (const auto& b : batches) copies.push_back(batch_ref::share(*b));
    sink->push(std::move(copies));
  }
}

void lane::apply(transform_slot& slot, batch_ref batch) {
  if (failed_) return batch->mark_undelivered();
  backoff pause(slot.retry);
  while (true) {
    yield left;
    const auto applied = slot.unit->apply(*batch, left);
    if (applied.ok()) {
      slot.meters->took(*batch);
      return hand_on(slot, left);
    }
    auto* input = batch.get();
    left.fail({&input, 1});
    if (applied.code == PL_REJECT) return halve(slot, *batch, applied);
    if (applied.code == PL_RETRY && !pause.exhausted() && wait_out(applied, pause, *slot.unit)) continue;
    batch->mark_undelivered();
    if (applied.code != PL_RETRY || pause.exhausted()) fail(*slot.unit, applied.text());
    return;
  }
}

// What a call that succeeded left: output to the readers, rejects to the dead letters.
void lane::hand_on(transform_slot& slot, yield& left) {
  if (!left.rejected.empty()) {
    slot.meters->rejected(left.rejected.size());
    events_.load()->rows_rejected(left.rejected, slot.unit->node());
  }
  for (std::size_t port = 0; port < slot.ports.size(); ++port) {
    group batches;
    for (auto& e : left.emitted)
      if (e.data && e.port == port) {
        slot.meters->gave(*e.data);
        batches.push_back(std::move(e.data));
      }
    if (!batches.empty()) deliver(slot.ports[port], batches);
  }
}

void lane::halve(transform_slot& slot, record_batch& batch, const outcome& refused) {
  const auto selection = batch.view().selection();
  const std::vector<std::uint32_t> rows(selection.begin(), selection.end());
  if (rows.size() <= 1) {
    yield left;
    for (const auto row : rows) left.rejected.push_back({batch_ref::share(batch), row, refused.text()});
    return hand_on(slot, left);
  }
  const std::span all(rows);
  for (const auto half : {all.first(rows.size() / 2), all.subspan(rows.size() / 2)}) {
    auto part = select_rows(batch.pool(), batch, half);
    if (!part) return batch.mark_undelivered(), fail(*slot.unit, "out of memory");
    apply(slot, std::move(part));
  }
}

// -------------------------------------------------------------------------------------------------------- streams ---

std::uint64_t lane::stream_assigned(std::string_view name, std::uint64_t next) {
  streams_.erase(std::string(name));
  (void)stream(name, next);
  return next;
}

std::uint64_t lane::stream_lost(std::string_view name) {
  const auto at = streams_.find(name);
  if (at == streams_.end()) return PL_UNKNOWN;
  const auto state = at->second.state;
  const auto until = clock::now() + lost_timeout;
  const bool was_hurried = hurried_;
  hurry_sinks(true);
  // Others' reports are put back by settling them here: the source hears of its other streams with the next settle.
  std::vector<settlement_inbox::report> others;
  while (!state->idle() && clock::now() < until && !abandoned_) {
    for (auto& report : inbox_.take()) {
      for (auto& f : report.flights)
        if (f.stream == state) state->report(f.number, report.delivered);
      others.push_back(std::move(report));
    }
    if (!state->idle()) inbox_.wait(until - clock::now());
  }
  for (auto& report : others) inbox_.put(std::move(report));
  hurry_sinks(was_hurried);
  lag_ -= at->second.lag;
  streams_.erase(at);
  source_->common().metrics.remove(source_->pipeline(), source_->node(),
                                   {"stream", state->name()});  // another lane's now
  for (auto& slot : graph_.slots) (void)slot->unit->drop(name);
  return state->settled();
}

// --------------------------------------------------------------------------------------------------------- ending ---

// Until everything in flight has an end, or somebody loses patience.
void lane::drain() {
  hurry_sinks(true);
  while (in_flight_ != 0 && !abandoned_ && !failed_) {
    inbox_.wait(poll_timeout);
    settle();
    keep_alive();
  }
  hurry_sinks(false);
  stray_ = {};  // never taken: it is read again after the next start
}

void lane::finish() {
  drain();
  settle();
  if (const auto stopped = source_started_ ? source_->stop() : outcome(); !stopped.ok())
    source_->log(telemetry::log_level::warn, fmt::format("did not stop cleanly: {}", stopped.text()));
  for (auto& slot : graph_.slots)
    if (slot->started) (void)slot->unit->stop();
  if (!failed_) state_.waiting_for("stopped");
}

void lane::fail(instance& unit, std::string_view why) {
  failed_ = true;
  state_.waiting_for(fmt::format("failed: {}", why));
  events_.load()->node_failed(unit.node(), why);
}

}  // namespace pl::engine
