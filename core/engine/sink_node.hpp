// SPDX-License-Identifier: Apache-2.0
// A sink of a pipeline: its writers, and which writer receives which streams. Any thread may push, flush and read the
// status; the host's main thread starts, holds and finishes the sink.
#pragma once

#include "engine/node_meters.hpp"
#include "engine/writer.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pl::engine {

class sink_node {
 public:
  // writers: created instances, one for each writer. meters: of the node, and of earlier sinks of its name. remove_at: the
  // size of the queue at which rows are removed, if that is smaller than the configured limit (see write_queue).
  sink_node(const config::node& settings, std::vector<std::unique_ptr<instance>> writers,
            std::shared_ptr<node_meters> meters, block_pool& pool, std::uint64_t remove_at = UINT64_MAX);
  ~sink_node();

  // patient: in a reload, a failure of the start that would be permanent is retried, too: the pipeline runs already.
  void start(bool patient = false);
  // Queue batches that belong together, from one lane. Batches of one stream reach the same writer, in order.
  void push(std::vector<batch_ref> group);
  [[nodiscard]] bool full() const;
  // Return whether lanes must wait until the sink has written some of its queue.
  [[nodiscard]] bool blocks_lanes() const { return when_letters_full_ == config::full_dead_letters::wait && full(); }
  // Return whether further rows are discarded: the dead-letter sink fails, and what waits for it fills its queue, also on
  // disk, or half of the memory.
  [[nodiscard]] bool discards() const;

  // Write what is queued without waiting for full batches, until each caller that passed true has passed false.
  void flush(bool on);
  void release_lost();                             // what is read again
  void join_stored(const settlement_inbox& lane);  // see write_queue
  void abandon();                                  // make no further attempts; what is not written stays unsettled
  void finish();                                   // write what is queued, then end the threads

  // Let another sink write what is queued: end the writers after their current attempt. `release` cancels it.
  void hold();
  void release();
  [[nodiscard]] bool held() const;                        // no writer runs; nothing is written until `release`
  using groups = std::vector<std::vector<queued_group>>;  // by writer, in order
  groups take_unwritten();                                // while held
  // Queue what another sink has not written. False: this sink has another number of writers, and what is on disk cannot
  // be divided.
  bool take_over(groups& unwritten);
  [[nodiscard]] std::uint64_t disk_bytes() const;

  [[nodiscard]] write_queue::amount unwritten() const;
  [[nodiscard]] bool failing() const;  // a writer has failed since its last success

  void report_to(pipeline_events& events) { events_.connect(events); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] node_meters& meters() const noexcept { return *meters_; }
  [[nodiscard]] instance& first() noexcept { return writers_.front()->sink(); }
  [[nodiscard]] std::vector<instance*> instances() const;  // one for each writer
  [[nodiscard]] std::string waiting_for() const;           // empty: all writers work, or nothing waits for them
  [[nodiscard]] std::string degraded() const;              // empty: all rows are written

 private:
  bool split(batch_ref batch, std::vector<std::vector<batch_ref>>& to);

  std::string name_;
  std::uint64_t limit_bytes_, disk_limit_bytes_;
  config::full_dead_letters when_letters_full_;
  bool best_effort_;
  block_pool& pool_;
  std::shared_ptr<node_meters> meters_;
  std::vector<std::unique_ptr<writer>> writers_;
  events_link events_;
  bool started_ = false, patient_ = false;
};

}  // namespace pl::engine
