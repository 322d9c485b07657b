// SPDX-License-Identifier: Apache-2.0
// Passes a batch through a lane's transforms to its sinks: output to the readers, rejected rows to the dead letters. If
// a transform fails, its call is retried or its batch is bisected. Runs on the lane's thread.
#pragma once

#include "engine/exact_router.hpp"
#include "engine/lane_graph.hpp"

#include <chrono>
#include <functional>

namespace pl::engine {

class graph_walk {
 public:
  // Wait before the next attempt. False: the lane must stop instead.
  using wait_function = std::function<bool(std::chrono::nanoseconds)>;

  graph_walk(lane_graph& graph, stream_table& streams, exact_router& router, state_keeper& state, lane_status& status,
             wait_function wait)
      : graph_(graph), streams_(streams), router_(router), state_(state), status_(status), wait_(std::move(wait)) {}

  // Process a batch as the source read it. The batch is already in flight.
  void process(batch_ref batch);
  // Make the columns of a batch that its source makes on demand, as far as the graph uses them. Before `process`.
  [[nodiscard]] result<void> complete(record_batch& batch) const;
  // Run the timer of all transforms, and take snapshots that are due.
  void tick();
  // Write the current state, so that the next start reads no record again. Do nothing if a snapshot would take long.
  void snapshot_before_stop();
  // Write that what transforms put until it is delivered has been delivered.
  void store_delivered();
  // Write the snapshots whose records are settled.
  void store_settled();

  [[nodiscard]] bool sinks_have_room() const;
  // Set whether the sinks write what is queued without waiting for full batches. Return the previous setting.
  bool flush(bool on);
  // Let the sinks release what is read again, also those that do not work.
  void release_lost();
  // Now and then, let the sinks use less memory for what is on disk.
  void join_stored();

 private:
  void deliver(const port_readers& to, const batch_group& batches);
  void apply(transform_slot& slot, batch_ref batch);
  void pass_on(transform_slot& slot, call_effects& effects);
  void bisect(transform_slot& slot, record_batch& batch, const failure& refused);
  void begin_timer_batches(const transform_slot& slot, call_effects& effects);

  lane_graph& graph_;
  stream_table& streams_;
  exact_router& router_;
  state_keeper& state_;
  lane_status& status_;
  wait_function wait_;
  bool flushing_ = false;
  std::chrono::steady_clock::time_point join_at_{};
};

}  // namespace pl::engine
