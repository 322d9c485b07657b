// SPDX-License-Identifier: Apache-2.0
#include "engine/writer.hpp"

#include "engine/signal_stack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace pl::engine {

using namespace std::chrono_literals;

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

void mark_undelivered(const std::vector<batch_ref>& batches) {
  for (const auto& b : batches) b->mark_undelivered();
}

std::string seconds_text(std::chrono::nanoseconds d) {
  return fmt::format("{:.1f} s", std::chrono::duration<double>(d).count());
}

std::unique_ptr<disk_queue> make_disk_queue(const instance& sink, const config::node& settings, node_meters& meters,
                                            block_pool& pool) {
  const auto& place = sink.where();
  return std::make_unique<disk_queue>(
      disk_queue_settings{place.state_dir, place.pipeline, place.node, place.index,
                          settings.queue.disk / settings.writers, settings.when_full},
      std::make_shared<disk_usage>(meters.queue_disk_bytes), pool,
      [&sink](telemetry::log_level level, std::string_view text) { sink.log(level, text); });
}

}  // namespace

writer::writer(std::unique_ptr<instance> sink, const config::node& settings, std::shared_ptr<node_meters> meters,
               block_pool& pool, std::uint64_t remove_at)
    : sink_(std::move(sink)),
      batch_(settings.batch),
      retry_(settings.retry),
      when_full_(settings.when_full),
      meters_(std::move(meters)),
      pool_(pool),
      queue_(settings.batch,
             {settings.queue.max_bytes / settings.writers, remove_at / settings.writers, disk_patience::usual_wait},
             {meters_->queue_bytes, meters_->queue_disk_batches}, pool,
             make_disk_queue(*sink_, settings, *meters_, pool)),
      breaker_(settings, *sink_, meters_),
      overflow_(settings, queue_.removes_at(), *sink_, meters_) {
  queue_.when_full(when_full_);
  sink_->report_writes_to(this);
}

writer::~writer() {
  queue_.abandon();
  queue_.close();
  join();
  sink_->report_writes_to(nullptr);
}

void writer::start(const events_link& events, bool patient) {
  events_ = &events;
  patient_ = patient;
  ended_ = false;
  thread_ = std::thread([this] { run(); });
}

void writer::join() {
  if (thread_.joinable()) thread_.join();
}

void writer::push(write_queue::batches together, const events_link& events) {
  queue_.push(std::move(together), [&](queued_group removed) {
    if (removed.lost())
      removed.mark_lost();
    else if (when_full_ != config::full_policy::block)
      overflow_.dropped(std::move(removed));
    else
      (void)breaker_.dead_letter(queue_.load(std::move(removed)), events);
  });
}

// --------------------------------------------------------------------------------------------------- on its thread ---

void writer::run() {
  const signal_stack stack;
  auto& started = started_;
  started = false;
  while (true) {
    if (!started && can_write()) started = connect();
    if (failed_) queue_.abandon();  // what is on disk need not be read
    auto batches = take();
    if (batches.empty()) break;
    if (!started && breaker_.open() && can_write()) started = connect();  // it may work by now
    if (!can_write())
      mark_undelivered(batches);
    else if (!started && breaker_.open())
      (void)dead_letter(std::move(batches));
    else if (!started)
      unwritten_.push_back(std::move(batches));  // the queue was held while this writer connected, and is no longer
    else
      write_and_report(std::move(batches));
    batches.clear();
    if (queue_.held()) put_back_next();
    queue_.taken_is_done(std::exchange(unwritten_, {}));
    if (queue_.half_empty()) overflow_.has_room();
  }
  overflow_.finish();
  if (started) {
    if (const auto stopped = sink_->stop(); sink_->broken() && !failed_)
      (void)fail({}, stopped.ok() ? std::string_view("violates the plugin interface") : stopped.why().message);
    else if (!stopped.ok())
      sink_->log(telemetry::log_level::warn, fmt::format("did not stop cleanly: {}", stopped.why().message));
  }
  ended_ = true;
}

bool writer::connect() {
  if (breaker_.rejects_now()) return false;
  backoff pause(retry_);
  if (!breaker_.open()) state_.waiting_for("connecting");
  while (true) {
    const auto started = sink_->start();
    if (started.ok() && breaker_.open()) return true;  // whether the sink works, the next write shows
    if (started.ok()) return responded(), true;
    if (started.why().code != status::retry && !patient_ && !breaker_.open()) return fail({}, started.why().message);
    if (breaker_.gives_up(pause)) return give_up({}, started.why(), pause), false;
    if (wait_before_retry(started.why(), pause, {}) != next_step::attempt) return false;
  }
}

void writer::write_and_report(group batches) {
  const auto rows = rows_of(batches);
  refused_ = {};
  fenced_ = false;
  (void)write_in_parts(std::move(batches));
  report_refusals(rows);
}

// Write a group in as few writes as `batch` and the server allow. Return false as `write` does.
bool writer::write_in_parts(group batches) {
  looks_ahead_ = write_cutter::fits(batches, limits());
  if (looks_ahead_) return write(std::move(batches));
  is_ahead_ = false;
  const bool positions = keeps_positions(batches);
  write_cutter parts(std::move(batches), positions, pool_);
  return write_parts_of(parts);
}

bool writer::write_parts_of(write_cutter& parts) {
  while (!parts.done()) {
    auto part = parts.next(limits());
    if (!part) return fail(parts.batches(), "out of memory while a batch was split");
    const bool written = part->empty() || write(*std::move(part));
    if (fenced_) {  // the positions of the other parts are not those of the store, either
      for (const auto& b : parts.batches()) b->mark_fenced();
      return true;
    }
    const bool held = queue_.held();  // read once: another thread may release the queue at any moment
    if (written && !held && !queue_.abandoned()) continue;
    if (parts.done()) return written;
    if (unwritten_.empty() && !held) return mark_undelivered(parts.batches()), false;
    auto rest = parts.rest();
    if (!rest) return fail(parts.batches(), "out of memory while a batch was split");
    if (!rest->empty()) unwritten_.push_back(*std::move(rest));
    return false;
  }
  return true;
}

// Write a group, with retries. Return false if a part is not written: this writer can no longer write, or what is
// left in `unwritten_` stays queued.
bool writer::write(group batches) {  // NOLINT(performance-unnecessary-value-param): released at the return
  if (breaker_.rejects_now()) return dead_letter(std::move(batches));
  backoff pause(retry_);
  for (bool failed_before = false;; failed_before = too_large_) {
    const auto whole = batches.size();
    if (!release_lost(batches)) return true;
    auto inputs = raw(batches);
    call_effects effects;
    rejected_early_.clear();
    progressed_ = too_large_ = false;
    was_peeked_ = std::exchange(is_ahead_, false) && batches.size() == whole;
    prepared_ = false;
    const auto began = std::chrono::steady_clock::now();
    const auto written = sink_->write(inputs, effects);
    meters_->write_seconds.observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    if (written.ok()) return accept(batches, effects);
    put_back_next();  // nobody knows when this write succeeds
    prepared_ = false;
    auto rejected = std::move(effects.rejected);
    effects.rejected.clear();
    effects.discard(inputs);
    if (!rejected_early_.empty() && !deselect(batches, rejected_early_)) return false;
    if (!rejected_early_.empty() || progressed_) pause = backoff(retry_);
    const auto& failed = written.why();
    if (failed.code == status::reject || failed.code == status::fenced) responded();
    if (failed.code == status::reject && !rejected.empty()) {
      if (!remove_rejected(batches, std::move(rejected))) return false;
      continue;
    }
    if (failed.code == status::fenced) return report_fenced(batches, failed);
    if (failed.code == status::reject) return bisect(std::move(batches), failed);
    const bool permanent = failed.code != status::retry;
    if (permanent && (!breaker_.enabled() || sink_->broken())) return fail(batches, failed.message);
    if (too_large_ && (failed_before || reduced_ != not_reduced))
      if (std::optional<bool> parts_written; reduce(batches, failed, parts_written)) return *parts_written;
    if (permanent || breaker_.gives_up(pause)) return give_up(std::move(batches), failed, pause);
    const auto next = wait_before_retry(failed, pause, batches);
    if (next == next_step::attempt) continue;
    if (next == next_step::give_up) return mark_undelivered(batches), false;
    return unwritten_.push_back(std::move(batches)), false;
  }
}

// Write a group in smaller parts, because the server lacked the resources for the whole group. Return false if it cannot be
// divided. The parts are attempted at once: each needs less than the attempt that failed.
bool writer::reduce(group& batches, const failure& failed, std::optional<bool>& written) {
  const auto rows = rows_of(batches);
  std::vector<batch_ref> shared;
  for (const auto& b : batches) shared.push_back(batch_ref::share(*b));
  write_cutter parts(std::move(shared), keeps_positions(batches), pool_);
  if (!parts.divisible()) return false;
  if (reduced_ == not_reduced) too_many_ = rows;
  reduced_ = std::max<std::uint64_t>(1, rows / 2);
  written_at_size_ = 0;
  looks_ahead_ = false;
  meters_->retries.add();
  sink_->log(telemetry::log_level::warn, fmt::format("{}; writing {} rows in parts of {}", failed.message,
                                                     telemetry::format_count(rows), telemetry::format_count(reduced_)));
  batches.clear();
  written = write_parts_of(parts);
  return true;
}

// After several successful writes, try larger ones.
void writer::restore_size() {
  static constexpr int enough = 8;
  if (reduced_ == not_reduced || ++written_at_size_ < enough) return;
  written_at_size_ = 0;
  reduced_ *= 2;
  if (reduced_ < too_many_) return;
  reduced_ = not_reduced;
  sink_->log(telemetry::log_level::info, "writes are no longer divided");
}

void writer::connected(std::string_view why_not) {
  std::scoped_lock lock(connection_mutex_);
  disconnected_ = why_not;
  if (!why_not.empty() && !disconnection_.ongoing()) disconnection_.attempt_failed();
  if (why_not.empty() && disconnection_.ongoing())
    sink_->log(telemetry::log_level::info, "connected " + disconnection_.end_of_state());
}

std::string writer::why_not_ready() const {
  // What waited may have been released, because it is read again: then nothing shows whether the sink works.
  const bool idle = started_ && !failed_ && !breaker_.open() && queue_.unwritten().groups == 0;
  if (auto why = state_.why(); !why.empty() && !idle) return why;
  std::scoped_lock lock(connection_mutex_);
  return disconnected_;
}

// An attempt had a result: the node is ready.
void writer::responded() {
  state_.waiting_for({});
  if (!outage_.ongoing()) return;
  sink_->log(telemetry::log_level::info, outage_.end(queue_.unwritten().rows) + breaker_.close());
  queue_.when_full(when_full_);
}

bool writer::accept(const group& batches, call_effects& effects) {
  responded();
  std::uint64_t bytes = 0;
  for (const auto& b : batches) {
    meters_->received(*b);
    bytes += b->payload_bytes();
  }
  meters_->stored(rows_of(batches) - effects.rejected.size() - rejected_early_.size(), bytes);
  restore_size();
  if (effects.rejected.empty()) return true;
  meters_->rejected(effects.rejected.size());
  refused_.add(effects.rejected);
  events_->call([&](auto& events) { events.rows_rejected(effects.rejected, sink_->node()); });
  return true;
}

// Dead-letter a row in the middle of a write. The batch stays unsettled until both the dead letter and the other rows are
// written.
bool writer::reject_now(rejection row) {
  if (events_->call([](auto& events) { return events.dead_letters_full(); })) return false;
  meters_->rejected(1);
  rejected_early_.push_back({row.of.get(), row.row});
  std::vector<rejection> one;
  one.push_back(std::move(row));
  refused_.add(one);
  events_->call([&](auto& events) { events.rows_rejected(one, sink_->node()); });
  return true;
}

bool writer::deselect(group& batches, const std::vector<rejected_row>& rows) {
  for (auto& b : batches) {
    std::vector<std::uint32_t> kept;
    for (const auto row : b->view().selection())
      if (std::ranges::none_of(rows, [&](const auto& r) { return r.of == b.get() && r.row == row; }))
        kept.push_back(row);
    if (kept.size() == b->nsel) continue;
    auto rest = select_rows(pool_, *b, kept);
    if (!rest || !set_changes(*rest, b->view().state_changes()))
      return fail(batches, "out of memory while rejected rows were removed");
    b = std::move(rest);
  }
  return true;
}

// Turn the rows that the sink named into dead letters, before the others are written. In the other order, a crash in
// between would lose them.
bool writer::remove_rejected(group& batches, std::vector<rejection> rejected) {
  meters_->rejected(rejected.size());
  refused_.add(rejected);
  std::vector<rejected_row> rows;
  for (const auto& r : rejected) rows.push_back({r.of.get(), r.row});
  if (!deselect(batches, rows)) return false;
  state_.waiting_for("waiting for the dead letters");
  const auto letters =
      events_->call([&](auto& events) { return events.rows_rejected_urgently(std::move(rejected), sink_->node()); });
  const auto failed = [&] { return events_->call([](auto& events) { return events.failed(); }); };
  while (letters != nullptr && !queue_.abandoned() && !failed())
    if (letters->wait(50ms) || !release_lost(batches)) return true;
  mark_undelivered(batches);
  failed_ = true;
  return false;
}

// Log a write of which no row was stored, for one reason: the cause is rather the configuration than the data.
void writer::report_refusals(std::uint64_t rows) {
  if (rows < 2 || refused_.rows() != rows || !refused_.one_reason()) return;
  sink_->log(
      telemetry::log_level::error,
      fmt::format("every row of a write was refused for one reason, {} of {}: {}; compare the configuration with "
                  "the server; the rows are in the dead letters",
                  telemetry::format_count(rows), telemetry::format_count(rows), refused_.first_reason()));
}

// The write is given up (on_failure: dead_letters). Until the sink works again, its rows become dead letters at once, also
// those for which the queue has no room while the sink is probed: nothing waits for it.
bool writer::give_up(group batches, const failure& why, const backoff& pause) {
  outage_.attempt_failed();
  meters_->retries.add();
  breaker_.trip(why, pause);
  state_.waiting_for(breaker_.reason());
  if (when_full_ == config::full_policy::block) queue_.when_full(config::full_policy::drop_oldest);
  return dead_letter(std::move(batches));
}

// Turn a group into dead letters, as soon as their queue has room. Return false as `write` does.
bool writer::dead_letter(group batches) {  // NOLINT(performance-unnecessary-value-param): as above
  if (batches.empty()) return true;        // a start was given up
  while (release_lost(batches) && events_->call([](auto& events) { return events.dead_letters_full(); })) {
    const auto next = queue_.wait_before_retry(20ms);
    if (next == next_step::give_up) return mark_undelivered(batches), false;
    if (next == next_step::leave_queued) return unwritten_.push_back(std::move(batches)), false;
  }
  (void)breaker_.dead_letter(batches, *events_);
  return true;
}

// Report that another host has since claimed a stream of these batches. The lane reads its remaining streams again
// under a new claim.
bool writer::report_fenced(const group& batches, const failure& why) {
  sink_->log(telemetry::log_level::warn, why.message);
  for (const auto& b : batches) b->mark_fenced();
  fenced_ = true;
  return true;
}

// Wait before the next attempt.
writer::next_step writer::wait_before_retry(const failure& failed, backoff& pause, const group& batches) {
  if (pause.exhausted()) {
    (void)fail({}, fmt::format("{} (given up after {}: retry.give_up_after)", failed.message,
                               seconds_text(*retry_.give_up_after)));
    return next_step::give_up;
  }
  const auto wait = pause.next();
  outage_.attempt_failed();
  meters_->retries.add();
  state_.waiting_for("retrying: " + failed.message);
  sink_->log(telemetry::log_level::warn,
             fmt::format("{}; attempt {} in {}", failed.message, pause.attempts() + 1, seconds_text(wait)));
  return queue_.wait_before_retry(wait, [&] { return lost(batches); });
}

bool writer::lost(const group& batches) {
  return std::ranges::any_of(batches, [](const auto& b) { return b->lost(); });
}

// Release what is read again, with all records of its streams that follow: the lane waits for it, and must not wait for a
// sink that does not work. Return whether anything is left.
bool writer::release_lost(group& batches) {
  std::erase_if(batches, [](const auto& b) {
    if (!b->lost()) return false;
    b->mark_lost();
    return true;
  });
  return !batches.empty();
}

// ------------------------------------------------------------------------------------------------------- bisection ---

// A sink that keeps no positions receives the epochs of the others, too.
bool writer::keeps_positions(const group& batches) const {
  return (sink_->component().caps & PL_TRANSACTIONAL) != 0 &&
         std::any_of(batches.begin(), batches.end(), [](const auto& b) {
           return std::ranges::any_of(b->view().ranges(), [](const auto& r) { return r.epoch != 0; });
         });
}

bool writer::bisect(group batches, const failure& refused) {
  if (keeps_positions(batches))
    return fail(batches,
                fmt::format("rejects rows without naming them; a sink that keeps positions must name each one: {}",
                            refused.message));
  const auto rows = rows_of(batches);
  if (rows == 0) return fail(batches, fmt::format("rejects a batch without rows: {}", refused.message));
  if (rows == 1) {
    call_effects effects;
    for (auto& b : batches)
      if (b->nsel == 1) effects.rejected.push_back({batch_ref::share(*b), b->view().selection()[0], refused.message});
    return accept(batches, effects);
  }
  group first, second;
  looks_ahead_ = false;
  if (!split(std::move(batches), first, second)) return false;
  if (rows_of(first) == 0 || write(std::move(first))) return rows_of(second) == 0 || write(std::move(second));
  if (unwritten_.empty())
    mark_undelivered(second);
  else
    unwritten_.push_back(std::move(second));
  return false;
}

// Split a group between two of its batches. Split a single batch in the middle of its rows.
bool writer::split(group batches, group& first, group& second) {
  if (batches.size() > 1) {
    const auto middle = batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2);
    first.assign(std::make_move_iterator(batches.begin()), std::make_move_iterator(middle));
    second.assign(std::make_move_iterator(middle), std::make_move_iterator(batches.end()));
    return true;
  }
  auto& b = *batches.front();
  const auto selection = b.view().selection();
  const std::vector<std::uint32_t> selected(selection.begin(), selection.end());
  const std::span all(selected);
  first.push_back(select_rows(pool_, b, all.first(all.size() / 2)));
  second.push_back(select_rows(pool_, b, all.subspan(all.size() / 2)));
  if (first.back() && second.back()) return true;
  return fail(batches, "out of memory while looking for a rejected row");
}

bool writer::fail(const group& batches, std::string_view why) {
  failed_ = true;
  mark_undelivered(batches);
  state_.waiting_for(fmt::format("failed: {}", why));
  events_->call([&](auto& events) { events.node_failed(sink_->node(), why); });
  return false;
}

}  // namespace pl::engine
