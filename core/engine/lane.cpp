// SPDX-License-Identifier: Apache-2.0
#include "engine/lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t poll_rows = 4096;  // amortises a call; small enough that cells stay in the cache
constexpr std::size_t poll_bytes = std::size_t{1024} * 1024;
constexpr auto poll_timeout = 50ms;             // bounds how long settled news and ticks wait on a silent source
constexpr auto tick_interval = 100ms;           // promised in abi.h
constexpr auto snapshot_interval = 2s;          // of state: what is read again by transforms after a crash, at the most
constexpr std::size_t light_snapshot = 20'000;  // changes; more of them come less often, so that they cost little
constexpr std::size_t heavy_snapshot = 100'000;  // an end does not wait for another one
constexpr auto lost_timeout = 10s;               // a rebalance mustn't wait longer for what is in flight

// How far transforms have seen a stream, as a change of its state.
state_change seen_until(std::string_view stream, std::uint64_t next) {
  return {{}, std::string(stream), std::string(seen_until_key), std::to_string(next), false};
}

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
  const auto sinks_of = [](const lane_graph& g) {
    std::vector<const sink_node*> sinks;
    for (const auto& a : g.positions.accounts()) sinks.push_back(a.sink.get());
    return sinks;
  };
  if (sinks_of(graph_) != sinks_of(fresh)) rejoin_because_ = "other sinks keep the positions now";
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
  unclaimed_.clear();  // whatever is assigned now is claimed anew
  for (auto& slot : graph_.slots) {
    if (!slot->started) slot->started = start(*slot->unit, slot->retry);
    if (!slot->started) return;
  }
  if (!source_started_) source_started_ = start(*source_, source_retry_);
  connected_ = source_started_;
  if (connected_) state_.waiting_for({});  // ready only now: devices may be told to begin by that
}

bool lane::start(instance& unit, const config::retry_settings& retry) {
  const auto started = unit.start();
  if (started.ok()) {
    come_again_.reset();
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
  if (rejoin_because_ != nullptr) return restart_source();
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
      source_->log(telemetry::log_level::warn, polled.text());
      rejoin_because_ = "another member of the group has taken its place";
      return;
    default:
      return fail(*source_, polled.text());
  }
}

// Begins again, with fresh claims. What is in flight under the old ones comes to its end first.
void lane::restart_source() {
  hurry_sinks(true);
  inbox_.wait(in_flight_ != 0 ? poll_timeout : 0ns);
  settle();
  if (in_flight_ != 0) return keep_alive();
  hurry_sinks(false);
  if (source_started_) {
    source_->log(telemetry::log_level::warn, fmt::format("joining again: {}", rejoin_because_));
    meters_->restarts.add();
    (void)source_->stop();
  }
  stray_ = {};
  streams_.clear();
  held_.clear();
  changes_.clear();
  lag_ = 0;
  rejoin_because_ = nullptr;
  connected_ = source_started_ = false;
}

lane::tracked& lane::stream(std::string_view name, std::uint64_t first) {
  if (const auto at = streams_.find(name); at != streams_.end()) return at->second;
  claimed_stream unclaimed;
  unclaimed.start = unclaimed.settled = first;
  return track(name, unclaimed);
}

lane::tracked& lane::track(std::string_view name, const claimed_stream& claimed) {
  tracked fresh;
  fresh.state = std::make_shared<stream_state>(std::string(name), claimed.start, claimed.settled);
  fresh.claimed = claimed;
  namespace em = telemetry::engine_metrics;
  auto& metrics = source_->common().metrics;
  fresh.state->lag = metrics.get(em::lag_records, source_->pipeline(), source_->node(), name);
  fresh.state->settled_position = metrics.get(em::settled_position, source_->pipeline(), source_->node(), name);
  return streams_.insert_or_assign(std::string(name), std::move(fresh)).first->second;
}

void lane::note_lag(tracked& t, std::uint64_t end) {
  if (end == PL_UNKNOWN) return;
  const auto& s = *t.state;
  const auto lag = end > s.position() ? end - s.position() : 0;
  s.lag.set(static_cast<double>(lag));
  lag_known_ = true;
  lag_ += lag - t.lag;  // unsigned: wraps back
  t.lag = lag;
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
    auto& t = stream(pl::view(r.stream), r.first);
    r.first = std::min(r.first, t.state->position());
    r.source = borrow(source_->node());
    r.epoch = t.claimed.epoch;
    flights.push_back({t.state, t.state->begin(r.next)});
    note_lag(t, r.end);
  }
  batch->track(inbox_, std::move(flights));
  ++in_flight_;
  meters_->in_flight_batches.set(static_cast<double>(in_flight_));
  meters_->took(*batch);
  meters_->gave(*batch);
  const auto root = batch_ref::share(*batch);
  deliver(graph_.source, one(std::move(batch)));
  write_down(root.get());
}

void lane::settle() {
  std::map<stream_state*, std::uint64_t> moved;  // from where
  std::vector<std::shared_ptr<stream_state>> alive;
  for (auto& report : inbox_.take()) {
    --in_flight_;
    if (report.fenced) rejoin_because_ = "another host has claimed a stream of ours";
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
    ranges.push_back(range_of(borrow(s->name()), before, s->settled()));
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
    if (ticked.ok()) {
      take_belongings(left);
      hand_on(*slot, left);
    } else if (left.fail({}); ticked.code == PL_FATAL) {
      return fail(*slot->unit, ticked.text());
    }
  }
  snapshot_if_due();
  write_down(nullptr);
}

// Batches that a timer made: at the present of their streams, and in flight like what was read.
void lane::take_belongings(yield& left) {
  for (const auto& [batch, name] : left.belongings) {
    const auto at = streams_.find(name);
    if (at == streams_.end() || batch->nranges != 0) continue;
    auto* range = static_cast<pl_range*>(batch->alloc(sizeof(pl_range), alignof(pl_range)));
    if (range == nullptr) return fail(*source_, "out of memory");
    const auto& s = at->second.state;
    *range = {borrow(s->name()), s->position(),           s->position(),
              PL_UNKNOWN,        borrow(source_->node()), at->second.claimed.epoch};
    batch->ranges = range;
    batch->nranges = 1;
    batch->track(inbox_, {{s, s->begin(s->position())}});
    ++in_flight_;
  }
}

// What changes with each record is written now and then, together with up to where the records are in it: after a restart
// transforms read on from there. It is written only when all before is settled at every branch, so that what they
// once told is told again if it may not have got through.
void lane::snapshot_if_due() {
  if (!keeps_state()) return;
  const bool due = clock::now() >= next_snapshot_;
  if (due) {
    next_snapshot_ = clock::now() + snapshot_interval;
    snapshot_changes_ = 0;
  }
  for (auto& [name, t] : streams_) {
    // While a sink has more than was read, it would take no change.
    const auto& next = t.claimed.next;
    const auto position = t.state->position();
    const bool level = std::all_of(next.begin(), next.end(), [position](auto n) { return n <= position; });
    if (due && level && !t.snapshot_waits && t.seen_until != position) take_snapshot(name, t);
    if (t.snapshot_waits && t.state->settled() >= t.seen_until) write_snapshot(name, t);
  }
}

bool lane::keeps_state() const {
  if (graph_.positions.empty() && !graph_.state) return false;
  return std::any_of(graph_.slots.begin(), graph_.slots.end(), [](auto& s) { return s->unit->stateful(); });
}

void lane::take_snapshot(const std::string& name, tracked& t) {
  for (auto& slot : graph_.slots) {
    yield left;
    const auto taken = slot->unit->snapshot(name, left);
    if (!taken.ok()) return fail(*slot->unit, taken.text());
    std::move(left.changes.begin(), left.changes.end(), std::back_inserter(t.snapshot));
  }
  t.seen_until = t.state->position();
  t.snapshot_waits = true;
  snapshot_changes_ += t.snapshot.size();
  const auto weight = 1 + snapshot_changes_ / light_snapshot;
  next_snapshot_ = std::max(next_snapshot_, clock::now() + snapshot_interval * static_cast<int>(weight));
}

void lane::write_snapshot(const std::string& name, tracked& t) {
  std::move(t.snapshot.begin(), t.snapshot.end(), std::back_inserter(changes_));
  changes_.push_back(seen_until(name, t.seen_until));
  t.snapshot.clear();
  t.snapshot_waits = false;
}

// Changes that go with the batch in hand. They are newer than a snapshot that waits.
void lane::take_changes(yield& left) {
  for (auto& c : left.changes) {
    if (const auto at = streams_.find(c.stream); at != streams_.end())
      std::erase_if(at->second.snapshot, [&](const auto& old) { return old.node == c.node && old.key == c.key; });
    changes_.push_back(std::move(c));
  }
}

// ------------------------------------------------------------------------------------------------ through the graph ---

void lane::deliver(const port_readers& to, const group& batches) {
  for (auto* slot : to.transforms)
    for (const auto& b : batches) apply(*slot, batch_ref::share(*b));
  for (const auto& sink : to.sinks) push(sink, batches);
}

// To a sink that keeps positions goes all that one batch of the source came to, at once, by `write_down`; to the others
// what wasn't settled at an earlier time.
void lane::push(const std::shared_ptr<sink_node>& sink, const group& batches) {
  const auto& accounts = graph_.positions.accounts();
  const auto at = std::find_if(accounts.begin(), accounts.end(), [&](const auto& a) { return a.sink == sink; });
  group direct;
  gathered_.resize(accounts.size());
  auto& to = at == accounts.end() ? direct : gathered_[static_cast<std::size_t>(at - accounts.begin())];
  for (const auto& b : batches)
    if (auto part = at == accounts.end() ? cut_settled(batch_ref::share(*b)) : batch_ref::share(*b))
      to.push_back(std::move(part));
  if (!direct.empty()) sink->push(std::move(direct));
}

// Ends what is done with one batch of the source, or with one tick (root: null): each sink that keeps positions gets its
// rows and, whether there are any or not, the ranges that they cover and the changes of state.
void lane::write_down(record_batch* root) {
  const auto& accounts = graph_.positions.accounts();
  gathered_.resize(accounts.size());
  auto changes = std::exchange(changes_, {});
  if (accounts.empty()) return write_locally(std::move(changes));
  if (root != nullptr) {  // those of other streams go with the next batch of theirs
    const auto ranges = root->view().ranges();
    const auto others = std::stable_partition(changes.begin(), changes.end(), [&](const auto& c) {
      return std::ranges::any_of(ranges, [&](const auto& r) { return pl::view(r.stream) == c.stream; });
    });
    changes_.assign(std::make_move_iterator(others), std::make_move_iterator(changes.end()));
    changes.erase(others, changes.end());
  }
  batch_ref made;
  if (root == nullptr && !changes.empty()) {
    made = timer_root(changes);
    root = made.get();
  }
  // A part of it would move the positions past the rest.
  const bool whole = !failed_ && (root == nullptr || !root->undelivered());
  for (std::size_t i = 0; i < accounts.size(); ++i) {
    const auto gathered = std::exchange(gathered_[i], {});
    group all;
    if (!whole)
      for (const auto& b : gathered) b->mark_undelivered();
    else if (group_for(i, gathered, root, changes, all) && !all.empty())
      accounts[i].sink->push(std::move(all));
  }
}

bool lane::group_for(std::size_t account, const group& gathered, record_batch* root,
                     const std::vector<state_change>& changes, group& all) {
  try {
    for (const auto& b : gathered)
      if (auto part = cut_for(batch_ref::share(*b), account)) all.push_back(std::move(part));
    if (root != nullptr)
      if (auto c = carrier(*root, account, changes)) all.push_back(std::move(c));
    return true;
  } catch (const std::bad_alloc&) {
    for (const auto& b : gathered) b->mark_undelivered();
    if (root != nullptr) root->mark_undelivered();
    fail(*source_, "out of memory");
    return false;
  }
}

batch_ref lane::timer_root(const std::vector<state_change>& changes) {
  static const pl_schema no_columns{0, nullptr};
  batch_ref made(new (std::nothrow) record_batch(source_->pool(), nullptr, &no_columns, 0));
  std::vector<tracked*> touched;
  for (const auto& c : changes)
    if (const auto at = streams_.find(c.stream);
        at != streams_.end() && std::find(touched.begin(), touched.end(), &at->second) == touched.end())
      touched.push_back(&at->second);
  auto* ranges =
      made ? static_cast<pl_range*>(made->alloc(sizeof(pl_range) * (touched.size() + 1), alignof(pl_range))) : nullptr;
  if (ranges == nullptr) return fail(*source_, "out of memory"), batch_ref();
  std::vector<flight> flights;
  for (std::size_t i = 0; i < touched.size(); ++i) {
    const auto& s = touched[i]->state;
    ranges[i] = {borrow(s->name()), s->position(),           s->position(),
                 PL_UNKNOWN,        borrow(source_->node()), touched[i]->claimed.epoch};
    flights.push_back({s, s->begin(s->position())});
  }
  made->ranges = ranges;
  made->nranges = static_cast<std::uint32_t>(touched.size());
  made->track(inbox_, std::move(flights));
  ++in_flight_;
  return made;
}

// The ranges of a root as an account needs them, without a row. Null: it has all of it already.
batch_ref lane::carrier(record_batch& root, std::size_t account, const std::vector<state_change>& changes) {
  auto empty = select_rows(root.pool(), root, {});
  if (!empty) throw std::bad_alloc();
  auto carrier = cut_for(std::move(empty), account);
  if (!carrier) return {};
  std::vector<pl_change> raw;
  const auto copied = [&](const std::string& text) -> pl_str {
    auto* p = static_cast<char*>(carrier->alloc(std::max<std::size_t>(1, text.size()), 1));
    if (p == nullptr) throw std::bad_alloc();
    std::copy(text.begin(), text.end(), p);
    return {p, text.size()};
  };
  const auto keeps = [&](const std::string& stream) {
    const auto at = streams_.find(stream);
    return at != streams_.end() && at->second.claimed.state_account == account;
  };
  for (const auto& c : changes)
    for (std::uint32_t r = 0; r < root.nranges; ++r)
      if (pl::view(root.ranges[r].stream) == c.stream && keeps(c.stream))
        raw.push_back({r, c.erase ? 1U : 0U, copied(c.node), copied(c.key), copied(c.value)});
  if (!carry(*carrier, raw)) throw std::bad_alloc();
  return carrier;
}

// Without what is below a stream's floor. Null: nothing is left.
template <class Floor>
batch_ref lane::cut(batch_ref batch, Floor&& floor_of) {
  const auto has_until = [&](const pl_range& r) -> std::uint64_t {
    const auto at = streams_.find(pl::view(r.stream));
    return at == streams_.end() ? 0 : floor_of(at->second.claimed);
  };
  const auto ranges = batch->view().ranges();
  if (std::none_of(ranges.begin(), ranges.end(), [&](const auto& r) { return r.first < has_until(r); })) return batch;
  std::vector<std::uint64_t> until;
  for (const auto& r : ranges) until.push_back(has_until(r));
  if (std::all_of(ranges.begin(), ranges.end(), [&](const auto& r) { return r.next <= has_until(r); })) return {};
  const auto view = batch->view();
  std::vector<std::uint32_t> rows;
  for (const auto row : view.selection()) {
    const auto& range = ranges[view.origin(row)];
    const auto position = view.has_positions() ? view.position(row) : range.next - 1;
    if (position >= until[view.origin(row)]) rows.push_back(row);
  }
  auto part = select_rows(batch->pool(), *batch, rows);
  auto* fresh =
      part ? static_cast<pl_range*>(part->alloc(sizeof(pl_range) * ranges.size(), alignof(pl_range))) : nullptr;
  if (fresh == nullptr) throw std::bad_alloc();
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    fresh[i] = ranges[i];
    fresh[i].first = std::max(ranges[i].first, until[i]);
    fresh[i].next = std::max(ranges[i].next, until[i]);
  }
  part->ranges = fresh;
  return part;
}

batch_ref lane::cut_for(batch_ref batch, std::size_t account) {
  return cut(std::move(batch), [account](const claimed_stream& c) { return c.next[account]; });
}

batch_ref lane::cut_settled(batch_ref batch) {
  try {
    return cut(std::move(batch), [](const claimed_stream& c) { return c.settled; });
  } catch (const std::bad_alloc&) {
    fail(*source_, "out of memory");
    return {};
  }
}

// Letters about records that only transforms read again were written the first time.
void lane::forget_settled(std::vector<rejection>& rejected) const {
  std::erase_if(rejected, [&](const rejection& r) {
    const auto view = r.of->view();
    const auto at = streams_.find(view.stream(r.row));
    return at != streams_.end() && view.has_positions() && view.position(r.row) < at->second.claimed.settled;
  });
}

// Of an earlier assignment.
void lane::forget_changes(std::string_view stream) {
  std::erase_if(changes_, [&](const state_change& c) { return c.stream == stream; });
}

// Where no sink keeps positions. What can't be written now is written with the next.
void lane::write_locally(std::vector<state_change> changes) {
  if (!graph_.state || changes.empty()) return;
  const auto written = graph_.state->write(source_->node(), changes);
  if (written.ok()) return;
  source_->log(telemetry::log_level::warn, written.text());
  changes_.insert(changes_.begin(), std::make_move_iterator(changes.begin()), std::make_move_iterator(changes.end()));
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
  take_changes(left);
  forget_settled(left.rejected);
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

pl_status lane::stream_announced(std::string_view name) {
  if (const auto before = held_.find(name); before != held_.end()) held_.erase(before);
  return answer(graph_.positions.look(source_->node(), name), name);
}

pl_status lane::stream_assigned(std::string_view name, begin why, std::uint64_t& next) {
  claimed_stream claimed;
  if (const auto code = answer(claim(name, why, next, claimed), name); code != PL_OK) return code;
  if (why == begin::by_order && claimed.epoch > 1)
    source_->log(telemetry::log_level::info,
                 fmt::format("{} goes to {}: the group's offset was reset", name, claimed.start));
  if (unclaimed_.erase(std::string(name)) != 0 && unclaimed_.empty()) state_.waiting_for({});
  auto& t = track(name, claimed);
  forget_changes(name);
  if (!claimed.has_state && keeps_state()) {
    // With the very first records: transforms have seen nothing before these.
    t.seen_until = claimed.start;
    changes_.push_back(seen_until(name, claimed.start));
  }
  next = claimed.start;
  return PL_OK;
}

outcome lane::claim(std::string_view name, begin why, std::uint64_t proposed, claimed_stream& claimed) {
  claimed.start = claimed.settled = proposed;
  outcome done;
  const auto before = held_.find(name);
  const auto held = before == held_.end() ? 0 : before->second;
  if (!graph_.positions.empty())
    done = graph_.positions.claim(source_->node(), name, why, proposed, held, keeps_state(), claimed);
  if (done.ok() && keeps_state()) done = restore(name, why, claimed);
  return done;
}

// Transforms get back what they knew of the stream, and reading begins where they knew it: all before was settled when that
// was written. After an order, what comes is new to them, whatever its positions; and where the group has forgotten its
// offset, positions may mean other records now.
outcome lane::restore(std::string_view name, begin why, claimed_stream& claimed) {
  for (auto& slot : graph_.slots) (void)slot->unit->drop(name);
  const bool moved = why == begin::by_order;
  const bool first = !graph_.positions.empty() && claimed.epoch == 1;
  bool found = false;
  const auto each = [&](std::string_view node, std::string_view key, std::string_view value) {
    if (node.empty() && key == seen_until_key) {
      std::uint64_t until = 0;
      std::from_chars(value.data(), value.data() + value.size(), until);
      found = true;
      if (why == begin::by_progress && !first) {
        claimed.start = until;
        claimed.settled = std::max(claimed.settled, until);
      } else if (!moved) {
        claimed.start = std::min(claimed.start, until);
      }
    }
    for (auto& slot : graph_.slots)
      if (slot->unit->node() == node) return slot->unit->restore(name, key, value);
    return outcome();
  };
  outcome loaded;
  if (graph_.positions.empty()) {
    loaded = graph_.state->load(source_->node(), name, each);
    // Records are worth more than what was remembered of them.
    if (loaded.code == PL_RETRY) {
      source_->log(telemetry::log_level::warn,
                   loaded.text() + "; transforms begin anew, and forget with the next restart");
      graph_.state.reset();
      loaded = {};
    }
    // The order is marked at the broker next, and is none any more after a crash.
    if (found && moved) write_locally({seen_until(name, claimed.start)});
  }
  // The first sink keeps it, or the one that has kept it before that one was configured.
  for (std::size_t i = 0; i < graph_.positions.accounts().size() && !found && loaded.ok(); ++i) {
    loaded = graph_.positions.load(source_->node(), name, i, each);
    if (found) claimed.state_account = i;
  }
  for (auto& slot : graph_.slots)
    if (loaded.ok()) loaded = slot->unit->restored(name, moved);
  claimed.has_state = found;
  return loaded;
}

// What the source is told; a person is told here.
pl_status lane::answer(const outcome& claimed, std::string_view stream) {
  if (claimed.ok()) return PL_OK;
  if (claimed.code == PL_FATAL) return fail(*source_, claimed.text()), PL_FATAL;
  if (claimed.code == PL_FENCED) rejoin_because_ = "another host has claimed a stream of ours";
  const auto why = fmt::format("{} can't be claimed: {}", stream, claimed.text());
  state_.waiting_for(why);
  unclaimed_.emplace(stream);
  source_->log(telemetry::log_level::warn, why + "; it is tried again");
  return PL_RETRY;
}

std::uint64_t lane::stream_lost(std::string_view name) {
  unclaimed_.erase(std::string(name));
  const auto at = streams_.find(name);
  if (at == streams_.end()) return PL_UNKNOWN;
  const auto state = at->second.state;
  held_.insert_or_assign(state->name(), at->second.claimed.epoch);
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
  forget_changes(name);
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
  // So that the next start has nothing to read again. A heavy one would take longer than that.
  if (!failed_ && !abandoned_ && source_started_ && snapshot_changes_ <= heavy_snapshot) {
    next_snapshot_ = {};
    snapshot_if_due();
    write_down(nullptr);
    drain();
    settle();
  }
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
