// SPDX-License-Identifier: Apache-2.0
// A lane: one thread, one instance of a source, and an instance of each transform behind it. This class is the thread:
// phases, polling, back-pressure, timers and shutdown. The parts of the lane handle positions and state.
#pragma once

#include "engine/alert_request.hpp"
#include "engine/arrival_clocks.hpp"
#include "engine/exact_router.hpp"
#include "engine/graph_walk.hpp"
#include "engine/instance.hpp"
#include "engine/lane_graph.hpp"
#include "engine/lane_status.hpp"
#include "engine/state_keeper.hpp"
#include "engine/stream_claims.hpp"
#include "engine/stream_table.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace pl::engine {

class lane {
 public:
  lane(std::unique_ptr<instance> source, lane_graph graph, std::shared_ptr<node_meters> meters, memory_budget& budget);
  ~lane();
  lane(const lane&) = delete;
  lane& operator=(const lane&) = delete;

  // The host's main thread. patient: in a reload, a failure of the start that would be permanent is retried, too: the
  // pipeline runs already.
  void start(pipeline_events& events, bool patient = false);
  void stop();     // read no more, wait for what is in flight, stop the source; returns at once
  void abandon();  // stop waiting for what is in flight
  void join();
  // Read no more until `resume`. True once nothing is in flight and the state of transforms is stored; false: the timeout
  // has passed.
  bool quiesce(std::chrono::nanoseconds timeout);
  void resume();
  // Return whether nothing is in flight, after `quiesce`; and whether at least the lane itself touches nothing.
  [[nodiscard]] bool quiescent() const;
  [[nodiscard]] bool paused() const;
  // Read again what was not delivered. why: a string literal.
  void read_again(const char* why);
  // While paused: replace the graph behind the source and the receiver of events, and resume. Transforms that are new
  // in the graph then receive the stored state of the assigned streams. Return the old graph.
  lane_graph exchange_graph(lane_graph fresh, pipeline_events& events);
  // Ask for the open alerts of the transforms; the lane responds between two batches. Any thread.
  void ask(const std::shared_ptr<alert_request>& request, std::string name);
  [[nodiscard]] lane_graph& graph() noexcept { return graph_; }  // while quiescent or not started
  [[nodiscard]] instance& source() noexcept { return *source_; }

  // Any thread may call these functions.
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] std::vector<lane_status::reason> not_ready() const { return status_.not_ready(); }
  [[nodiscard]] std::string not_accepting() const { return status_.not_accepting(); }
  [[nodiscard]] std::uint64_t lag() const noexcept { return streams_.lag(); }
  [[nodiscard]] bool lag_known() const noexcept { return streams_.lag_known(); }
  [[nodiscard]] bool continued() const noexcept { return claims_.continued(); }

 private:
  using clock = std::chrono::steady_clock;
  enum class phase { running, quiescing, stopping };
  // A reason to read again, which is compared by its address.
  static constexpr char transforms_changed[] = "transforms changed while records were in flight";

  void run();
  bool end();
  void loop();
  [[nodiscard]] phase current_phase() const;
  [[nodiscard]] bool complete() const;
  void run_once();
  void connect();
  bool connect(transform_slot& slot);
  bool start(instance& unit, const config::retry_settings& retry);
  [[nodiscard]] std::optional<std::uint64_t> waiting() const;
  void retry_later(const failure& failed, const config::retry_settings& retry, instance& unit);
  bool wait_before_retry(std::chrono::nanoseconds wait);
  void poll();
  void take(batch_ref batch);
  void take_stray();
  std::string unassigned_stream(record_batch& batch);
  void share_clocks();
  void keep_alive();
  [[nodiscard]] bool room() const;
  void tick_if_due();
  void settle();
  void settle_streams();
  void report_in_flight();
  void respond_to_requests();
  void restart_source();
  void run_again();
  void hand_over_state(lane_graph& fresh);
  void come_to_quiescence();
  bool settle_while_paused();
  void drain();
  void finish();
  void stop(instance& unit);
  [[nodiscard]] bool transforms_have_state() const;

  std::unique_ptr<instance> source_;
  lane_graph graph_;
  std::shared_ptr<node_meters> meters_;
  memory_budget& budget_;
  const config::retry_settings source_retry_{};

  // The parts, on the lane's thread. Each refers to those above it.
  lane_status status_;
  stream_table streams_;
  arrival_clocks arrivals_;
  state_keeper state_;
  exact_router router_;
  graph_walk walk_;
  stream_claims claims_;

  std::chrono::nanoseconds next_tick_{};  // on the simulated clock, if there is one
  clock::time_point retry_at_{};
  std::optional<backoff> retry_;  // of a source or transform that could not start, or of a poll that failed
  batch_ref stray_;               // arrived while there was no room for it
  std::uint64_t reported_ = 0;    // this lane's part of in_flight_batches
  bool patient_ = false;
  bool source_started_ = false, connected_ = false, at_end_ = false;

  std::atomic<bool> ended_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  phase phase_ = phase::running;
  bool paused_ = false, quiescent_ = false;
  bool busy_ = false;  // quiescing, and in a call: the graph must not be exchanged
  std::atomic<bool> state_stored_{false}, state_taken_{false};
  std::vector<std::pair<std::shared_ptr<alert_request>, std::string>> requests_;  // with the lane's name
  std::thread thread_;
};

}  // namespace pl::engine
