// SPDX-License-Identifier: Apache-2.0
// A lane: one thread, one instance of a source, and an instance of each transform behind it.
#pragma once

#include "engine/instance.hpp"
#include "engine/ledger.hpp"
#include "engine/local_state.hpp"
#include "engine/node_meters.hpp"
#include "engine/node_state.hpp"
#include "engine/sink_node.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace pl::engine {

struct transform_slot;

// Who reads from one port.
struct port_readers {
  std::vector<transform_slot*> transforms;
  std::vector<std::shared_ptr<sink_node>> sinks;
};

// One lane's instance of a transform.
struct transform_slot {
  std::shared_ptr<instance> unit;
  std::shared_ptr<node_meters> meters;
  config::retry_settings retry;
  std::vector<port_readers> ports;
  bool started = false;
};

// What is behind a source, as one lane has it. Slots in order: each after all that it reads from.
struct lane_graph {
  port_readers source;
  std::vector<std::unique_ptr<transform_slot>> slots;
  std::vector<std::shared_ptr<sink_node>> sinks;  // all that the lane can reach, the dead letters' included
  ledger positions;                               // the sinks that keep positions; empty: delivery is at least once
  std::unique_ptr<local_state> state;             // where transforms' state is kept then; null: nowhere
};

class lane final : private stream_listener {
 public:
  lane(std::unique_ptr<instance> source, lane_graph graph, std::shared_ptr<node_meters> meters, memory_budget& budget);
  ~lane() override;

  void start(pipeline_events& events);
  void stop();     // read no more, wait for what is in flight, stop the source; returns at once
  void abandon();  // don't wait any longer
  void join();
  [[nodiscard]] bool ended() const noexcept { return ended_; }  // the thread is through

  // Reads no more until resume. True once nothing is in flight; false when that takes longer.
  bool pause(std::chrono::nanoseconds timeout);
  void resume();
  // The graph behind the source, while paused and quiet; and whom to report to from now on. Answers the old graph.
  lane_graph exchange_graph(lane_graph fresh, pipeline_events& events);
  [[nodiscard]] lane_graph& graph() noexcept { return graph_; }  // while paused or not started

  [[nodiscard]] instance& source() noexcept { return *source_; }
  [[nodiscard]] std::string waiting_for() const { return state_.why(); }
  [[nodiscard]] std::uint64_t lag() const noexcept { return lag_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool lag_known() const noexcept { return lag_known_.load(std::memory_order_relaxed); }
  [[nodiscard]] node_meters& meters() noexcept { return *meters_; }

 private:
  using clock = std::chrono::steady_clock;
  using group = std::vector<batch_ref>;
  enum class phase { running, paused, stopping };
  struct tracked;

  void run();
  void connect();
  bool start(instance& unit, const config::retry_settings& retry);
  void try_later(const outcome& failed, const config::retry_settings& retry, instance& unit);
  std::chrono::nanoseconds announce(const outcome& failed, backoff& pause, instance& unit);
  void loop();
  [[nodiscard]] phase current_phase() const;
  void run_once();
  void hold_still();
  void keep_alive();
  void hurry_sinks(bool on);
  void poll_once();
  void restart_source();
  bool wait_out(const outcome& failed, backoff& pause, instance& unit);
  void take(batch_ref batch);
  void settle();
  void tick_if_due();
  [[nodiscard]] bool keeps_state() const;
  void snapshot_if_due();
  void take_snapshot(const std::string& name, tracked& t);
  void write_snapshot(const std::string& name, tracked& t);
  void take_changes(yield& left);
  void drain();
  void finish();
  void fail(instance& unit, std::string_view why);

  void deliver(const port_readers& to, const group& batches);
  void push(const std::shared_ptr<sink_node>& sink, const group& batches);
  void write_down(record_batch* root);
  bool group_for(std::size_t account, const group& gathered, record_batch* root,
                 const std::vector<state_change>& changes, group& all);
  [[nodiscard]] batch_ref timer_root(const std::vector<state_change>& changes);
  [[nodiscard]] batch_ref carrier(record_batch& root, std::size_t account, const std::vector<state_change>& changes);
  template <class Floor>
  [[nodiscard]] batch_ref cut(batch_ref batch, Floor&& floor_of);
  [[nodiscard]] batch_ref cut_for(batch_ref batch, std::size_t account);
  [[nodiscard]] batch_ref cut_settled(batch_ref batch);
  void forget_settled(std::vector<rejection>& rejected) const;
  void forget_changes(std::string_view stream);
  void write_locally(std::vector<state_change> changes);
  void take_belongings(yield& left);
  void apply(transform_slot& slot, batch_ref batch);
  void hand_on(transform_slot& slot, yield& left);
  void halve(transform_slot& slot, record_batch& batch, const outcome& refused);

  [[nodiscard]] bool room() const;
  tracked& stream(std::string_view name, std::uint64_t first);
  tracked& track(std::string_view name, const claimed_stream& claimed);
  void note_lag(tracked& t, std::uint64_t end);
  outcome claim(std::string_view name, begin why, std::uint64_t proposed, claimed_stream& claimed);
  outcome restore(std::string_view name, begin why, claimed_stream& claimed);
  pl_status answer(const outcome& claimed, std::string_view stream);

  pl_status stream_announced(std::string_view name) override;
  pl_status stream_assigned(std::string_view name, begin why, std::uint64_t& next) override;
  std::uint64_t stream_lost(std::string_view name) override;

  std::unique_ptr<instance> source_;
  lane_graph graph_;
  std::shared_ptr<node_meters> meters_;
  memory_budget& budget_;
  std::atomic<pipeline_events*> events_{nullptr};
  node_state state_;
  const config::retry_settings source_retry_{};

  // The lane's thread's own.
  struct tracked {
    std::shared_ptr<stream_state> state;
    claimed_stream claimed;
    std::uint64_t lag = 0;
    std::uint64_t seen_until = PL_UNKNOWN;  // as of the last snapshot
    std::vector<state_change> snapshot;     // taken, and not written before all below seen_until is settled
    bool snapshot_waits = false;
  };
  std::map<std::string, tracked, std::less<>> streams_;
  std::set<std::string> unclaimed_;                         // streams whose claim was refused, and is tried again
  std::map<std::string, std::uint64_t, std::less<>> held_;  // epochs of streams that were lost and not announced again
  settlement_inbox inbox_;
  std::uint64_t in_flight_ = 0;
  clock::time_point next_tick_{}, next_snapshot_{};
  std::size_t snapshot_changes_ = 0;      // of all streams, the last time
  const char* rejoin_because_ = nullptr;  // not null: all streams are to be claimed anew
  std::vector<state_change> changes_;     // that go with the batch in hand
  std::vector<group> gathered_;           // by account: what the batch in hand came to
  batch_ref stray_;                       // came when there was no room for it
  std::optional<backoff> come_again_;     // of the source or a transform that could not start, or a poll that failed
  clock::time_point retry_at_{};
  bool source_started_ = false, connected_ = false, failed_ = false, at_end_ = false, hurried_ = false;

  std::atomic<std::uint64_t> lag_{0};
  std::atomic<bool> lag_known_{false}, ended_{false}, abandoned_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  phase phase_ = phase::running;
  bool quiet_ = false;
  std::thread thread_;
};

}  // namespace pl::engine
