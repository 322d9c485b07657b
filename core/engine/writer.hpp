// SPDX-License-Identifier: Apache-2.0
// A writer: one thread, one instance of a sink, one queue. It writes what is queued, retries until the sink has
// accepted it, and finds rejected rows by bisection.
#pragma once

#include "engine/backoff.hpp"
#include "engine/circuit_breaker.hpp"
#include "engine/events_link.hpp"
#include "engine/instance.hpp"
#include "engine/node_meters.hpp"
#include "engine/node_state.hpp"
#include "engine/outage.hpp"
#include "engine/overflow.hpp"
#include "engine/refusals.hpp"
#include "engine/write_cutter.hpp"
#include "engine/write_queue.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace pl::engine {

class writer final : private write_listener {
 public:
  // remove_at: see write_queue; of all writers of the sink.
  writer(std::unique_ptr<instance> sink, const config::node& settings, std::shared_ptr<node_meters> meters,
         block_pool& pool, std::uint64_t remove_at);
  ~writer() override;
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  // The host's main thread. After a `join`, `start` may be called again. patient: retry a start that fails permanently.
  void start(const events_link& events, bool patient);
  void join();
  [[nodiscard]] instance& sink() noexcept { return *sink_; }

  // Any thread may call these functions.
  // Queue a group, and drop or dead-letter what has no room. events: of the sink.
  void push(write_queue::batches together, const events_link& events);
  [[nodiscard]] write_queue& queue() noexcept { return queue_; }
  [[nodiscard]] const write_queue& queue() const noexcept { return queue_; }
  [[nodiscard]] std::string why_not_ready() const;                           // empty: it is
  [[nodiscard]] bool failing() const noexcept { return outage_.ongoing(); }  // since the last attempt
  [[nodiscard]] bool failed() const noexcept { return failed_; }             // permanently
  [[nodiscard]] std::string dropping() const { return overflow_.reason(); }  // empty: nothing is being dropped
  [[nodiscard]] bool ended() const noexcept { return ended_; }  // nothing runs: the queue is closed or held

 private:
  using group = std::vector<batch_ref>;
  struct rejected_row {
    const record_batch* of;
    std::uint32_t row;
  };

  void run();
  group take();
  void put_back_next();
  void discard_prepared();
  bool connect();
  [[nodiscard]] bool can_write() const { return !failed_ && !queue_.abandoned(); }
  void write_and_report(group batches);
  bool write_in_parts(group batches);
  bool write_parts_of(write_cutter& parts);
  bool write(group batches);
  [[nodiscard]] write_limits limits() const noexcept { return {std::min(batch_.max_rows, reduced_), batch_.max_bytes}; }
  [[nodiscard]] bool keeps_positions(const group& batches) const;
  bool reduce(group& batches, const failure& failed, std::optional<bool>& written);
  void restore_size();
  bool accept(const group& batches, call_effects& effects);
  void responded();
  bool reject_now(rejection row) override;
  void progressed() override { progressed_ = true; }
  void too_large() override { too_large_ = true; }
  [[nodiscard]] std::span<pl_batch* const> next_write() override;
  [[nodiscard]] bool was_peeked() const override { return was_peeked_; }
  void connected(std::string_view why_not) override;
  bool remove_rejected(group& batches, std::vector<rejection> rejected);
  bool deselect(group& batches, const std::vector<rejected_row>& rows);
  bool bisect(group batches, const failure& refused);
  bool split(group batches, group& first, group& second);
  bool give_up(group batches, const failure& why, const backoff& pause);
  bool dead_letter(group batches);
  bool report_fenced(const group& batches, const failure& why);
  using next_step = write_queue::next_step;
  next_step wait_before_retry(const failure& failed, backoff& pause, const group& batches);
  static bool lost(const group& batches);
  static bool release_lost(group& batches);
  bool fail(const group& batches, std::string_view why);
  void report_refusals(std::uint64_t rows);

  std::unique_ptr<instance> sink_;
  const config::batch_settings batch_;
  const config::retry_settings retry_;
  const config::full_policy when_full_;
  std::shared_ptr<node_meters> meters_;
  block_pool& pool_;
  write_queue queue_;
  node_state state_;
  mutable std::mutex connection_mutex_;
  std::string disconnected_;  // why, as the sink reports it; also while nothing is written
  outage disconnection_;
  const events_link* events_ = nullptr;
  outage outage_;
  circuit_breaker breaker_;
  overflow overflow_;
  refusals refused_;                 // of the current write
  std::vector<queued_group> ahead_;  // taken for the next write, while this one is in progress
  std::vector<pl_batch*> peeked_;    // ... the batches that the sink has seen; empty: none
  std::vector<group> unwritten_;     // parts of the current write that stay queued, because the queue is held
  std::atomic<bool> failed_{false};
  bool fenced_ = false;  // a part of the current write
  bool patient_ = false;
  std::atomic<bool> started_{false};  // the sink
  std::atomic<bool> ended_{true};
  // Of the current call of the sink's `write`.
  std::vector<rejected_row> rejected_early_;
  bool progressed_ = false, too_large_ = false;
  bool looks_ahead_ = false;  // the next call has other rows than those of the current write
  bool is_ahead_ = false;     // the next call has the batches of `peeked_`, unless they are divided first
  bool was_peeked_ = false;   // the current call has them
  bool prepared_ = false;     // the sink has seen the next write, has succeeded, and was not called since
  // The server lacked the resources for larger writes: their maximum number of rows, which grows again.
  static constexpr std::uint64_t not_reduced = UINT64_MAX;
  std::uint64_t reduced_ = not_reduced, too_many_ = 0;  // too_many_: rows of the write that was divided first
  int written_at_size_ = 0;
  std::thread thread_;
};

}  // namespace pl::engine
