// SPDX-License-Identifier: Apache-2.0
#include "engine/sink_node.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace pl::engine {

namespace {

std::uint64_t rows_of(const std::vector<batch_ref>& batches) {
  return std::accumulate(batches.begin(), batches.end(), std::uint64_t{0},
                         [](auto n, const auto& b) { return n + b->nsel; });
}

std::vector<record_batch*> raw(const std::vector<batch_ref>& batches) {
  std::vector<record_batch*> all;
  all.reserve(batches.size());
  for (const auto& b : batches) all.push_back(b.get());
  return all;
}

std::string seconds_text(std::chrono::nanoseconds d) {
  return fmt::format("{:.1f} s", std::chrono::duration<double>(d).count());
}

}  // namespace

// --------------------------------------------------------------------------------------------------------- writer ---

writer::writer(std::unique_ptr<instance> sink, const config::node& settings, std::shared_ptr<node_meters> meters,
               block_pool& pool)
    : sink_(std::move(sink)),
      retry_(settings.retry),
      meters_(std::move(meters)),
      pool_(pool),
      queue_(settings.batch, settings.queue.max_bytes / settings.writers) {}

writer::~writer() {
  queue_.abandon();
  queue_.close();
  join();
}

void writer::start(std::atomic<pipeline_events*>& events) {
  events_ = &events;
  thread_ = std::thread([this] { run(); });
}

void writer::join() {
  if (thread_.joinable()) thread_.join();
}

void writer::run() {
  const bool started = connect();
  bool alive = started;
  while (true) {
    auto batches = queue_.take();
    if (batches.empty()) break;
    if (alive)
      alive = write(std::move(batches));
    else
      for (const auto& b : batches) b->mark_undelivered();
    count_queue();
  }
  if (!started) return;
  if (const auto stopped = sink_->stop(); !stopped.ok())
    sink_->log(telemetry::log_level::warn, fmt::format("did not stop cleanly: {}", stopped.text()));
}

bool writer::connect() {
  backoff pause(retry_);
  while (true) {
    state_.waiting_for("connecting");
    const auto started = sink_->start();
    if (started.ok()) {
      state_.waiting_for({});
      return true;
    }
    if (started.code != PL_RETRY) return fail({}, started.text());
    if (!come_again(started, pause)) return false;
  }
}

// False: this writer is done for.
bool writer::write(group batches) {
  backoff pause(retry_);
  auto inputs = raw(batches);
  while (true) {
    yield left;
    const auto began = std::chrono::steady_clock::now();
    const auto written = sink_->write(inputs, left);
    meters_->write_seconds.observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    if (written.ok()) return accept(batches, left);
    auto rejected = std::move(left.rejected);
    left.rejected.clear();
    left.fail(inputs);
    if (written.code == PL_REJECT && !rejected.empty()) {
      if (!bury(batches, std::move(rejected))) return false;
      inputs = raw(batches);
      continue;
    }
    if (written.code == PL_FENCED) return fence(batches, written);
    if (written.code == PL_REJECT) return halve(std::move(batches), written);
    if (written.code != PL_RETRY) return fail(batches, written.text());
    if (!come_again(written, pause)) {
      for (const auto& b : batches) b->mark_undelivered();
      return false;
    }
  }
}

// Rows that the sink has named: to the dead letters first, and when they are there, on without them. The other way round
// a crash in between would lose them.
bool writer::bury(group& batches, std::vector<rejection> rejected) {
  meters_->rejected(rejected.size());
  for (auto& b : batches) {
    std::vector<std::uint32_t> left;
    for (const auto row : b->view().selection())
      if (std::ranges::none_of(rejected, [&](const auto& r) { return r.of.get() == b.get() && r.row == row; }))
        left.push_back(row);
    if (left.size() == b->nsel) continue;
    auto rest = select_rows(pool_, *b, left);
    if (!rest || !carry(*rest, b->view().changes())) return fail(batches, "out of memory while rows were left out");
    b = std::move(rest);
  }
  state_.waiting_for("waiting for the dead letters");
  if (events_->load()->bury_rows(std::move(rejected), sink_->node(), [this] { return queue_.abandoned(); }))
    return true;
  for (const auto& b : batches) b->mark_undelivered();
  return false;
}

// Somebody has claimed a stream of these after us: they are his now. What is still ours is read again under a new claim.
bool writer::fence(const group& batches, const outcome& why) {
  sink_->log(telemetry::log_level::warn, why.text());
  for (const auto& b : batches) b->mark_fenced();
  return true;
}

// Waits before the next try. False: there is none.
bool writer::come_again(const outcome& failed, backoff& pause) {
  if (pause.exhausted())
    return fail({}, fmt::format("{} (given up after {}: retry.give_up_after)", failed.text(),
                                seconds_text(*retry_.give_up_after)));
  const auto wait = pause.next();
  meters_->retries.add();
  state_.waiting_for("retrying: " + failed.text());
  sink_->log(telemetry::log_level::warn,
             fmt::format("{}; try {} in {}", failed.text(), pause.tries() + 1, seconds_text(wait)));
  return !queue_.pause(wait);
}

bool writer::halve(group batches, const outcome& refused) {
  const auto rows = rows_of(batches);
  const bool in_parts = std::all_of(batches.begin(), batches.end(), [](const auto& b) {
    return std::ranges::all_of(b->view().ranges(), [](const auto& r) { return r.epoch == 0; });
  });
  if (!in_parts)
    return fail(batches, fmt::format("refuses rows without saying which, which a sink that keeps positions must: {}",
                                     refused.text()));
  if (rows == 0) return fail(batches, fmt::format("refuses a batch without rows: {}", refused.text()));
  if (rows == 1) {
    yield left;
    for (auto& b : batches)
      if (b->nsel == 1) left.rejected.push_back({batch_ref::share(*b), b->view().selection()[0], refused.text()});
    return accept(batches, left);
  }
  group first, second;
  if (batches.size() > 1) {
    const auto middle = batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2);
    first.assign(std::make_move_iterator(batches.begin()), std::make_move_iterator(middle));
    second.assign(std::make_move_iterator(middle), std::make_move_iterator(batches.end()));
  } else {
    auto& b = *batches.front();
    const auto selection = b.view().selection();
    const std::vector<std::uint32_t> selected(selection.begin(), selection.end());
    const std::span all(selected);
    first.push_back(select_rows(pool_, b, all.first(all.size() / 2)));
    second.push_back(select_rows(pool_, b, all.subspan(all.size() / 2)));
    if (!first.back() || !second.back()) return fail(batches, "out of memory while looking for a refused row");
  }
  return (rows_of(first) == 0 || write(std::move(first))) && (rows_of(second) == 0 || write(std::move(second)));
}

bool writer::accept(const group& batches, yield& left) {
  state_.waiting_for({});
  std::uint64_t bytes = 0;
  for (const auto& b : batches) {
    meters_->took(*b);
    bytes += b->payload_bytes();
  }
  meters_->stored(rows_of(batches) - left.rejected.size(), bytes);
  if (left.rejected.empty()) return true;
  meters_->rejected(left.rejected.size());
  events_->load()->rows_rejected(left.rejected, sink_->node());
  return true;
}

bool writer::fail(const group& batches, std::string_view why) {
  for (const auto& b : batches) b->mark_undelivered();
  state_.waiting_for(fmt::format("failed: {}", why));
  events_->load()->node_failed(sink_->node(), why);
  return false;
}

// ------------------------------------------------------------------------------------------------------ sink_node ---

sink_node::sink_node(const config::node& settings, std::vector<std::unique_ptr<instance>> writers, services common,
                     block_pool& pool)
    : name_(settings.name), pool_(pool) {
  const auto& pipeline = writers.front()->pipeline();
  meters_ = std::make_shared<node_meters>(common.metrics, pipeline, name_);
  namespace em = telemetry::engine_metrics;
  meters_->write_seconds = common.metrics.get(em::write_seconds, pipeline, name_);
  meters_->queue_bytes = common.metrics.get(em::queue_bytes, pipeline, name_);
  meters_->queue_limit_bytes = common.metrics.get(em::queue_limit_bytes, pipeline, name_);
  meters_->queue_limit_bytes.set(static_cast<double>(settings.queue.max_bytes));
  for (auto& w : writers) writers_.push_back(std::make_unique<writer>(std::move(w), settings, meters_, pool));
}

sink_node::~sink_node() = default;

void sink_node::start() {
  if (std::exchange(started_, true)) return;
  for (auto& w : writers_) w->start(events_);
}

void sink_node::push(std::vector<batch_ref> group) {
  if (writers_.size() == 1) return writers_.front()->queue().push(std::move(group));
  std::vector<std::vector<batch_ref>> parts(writers_.size());
  for (auto& b : group)
    if (!split(std::move(b), parts)) return events_.load()->node_failed(name_, "out of memory");
  for (std::size_t w = 0; w < writers_.size(); ++w)
    if (!parts[w].empty()) writers_[w]->queue().push(std::move(parts[w]));
}

// To each writer the ranges whose streams are its own. False: no memory; the batch is marked undelivered.
bool sink_node::split(batch_ref batch, std::vector<std::vector<batch_ref>>& to) {
  std::vector<std::size_t> writer_of;
  writer_of.reserve(batch->nranges);
  for (const auto& range : batch->view().ranges())
    writer_of.push_back(std::hash<std::string_view>()(pl::view(range.stream)) % writers_.size());
  const auto only = writer_of.empty() ? 0 : writer_of.front();
  if (std::ranges::all_of(writer_of, [&](auto w) { return w == only; })) {
    to[only].push_back(std::move(batch));
    return true;
  }
  for (std::size_t w = 0; w < writers_.size(); ++w) {
    std::vector<bool> take;
    take.reserve(writer_of.size());
    for (const auto of : writer_of) take.push_back(of == w);
    if (std::none_of(take.begin(), take.end(), [](bool t) { return t; })) continue;
    auto part = select_ranges(pool_, *batch, take);
    if (!part) return batch->mark_undelivered(), false;
    to[w].push_back(std::move(part));
  }
  return true;
}

bool sink_node::full() const {
  return std::any_of(writers_.begin(), writers_.end(), [](const auto& w) { return w->queue().full(); });
}

void sink_node::hurry(bool on) {
  for (auto& w : writers_) w->queue().hurry(on);
}

void sink_node::abandon() {
  for (auto& w : writers_) w->queue().abandon();
}

void sink_node::finish() {
  for (auto& w : writers_) w->queue().close();
  for (auto& w : writers_) w->join();
}

std::string sink_node::waiting_for() const {
  for (const auto& w : writers_)
    if (auto why = w->state().why(); !why.empty()) return why;
  return {};
}

}  // namespace pl::engine
