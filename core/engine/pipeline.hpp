// SPDX-License-Identifier: Apache-2.0
// A pipeline: built from its configuration, checked, started, watched, changed while it runs, stopped.
#pragma once

#include "config/bind.hpp"
#include "config/pipeline.hpp"
#include "engine/dead_letters.hpp"
#include "engine/lane.hpp"
#include "engine/sink_node.hpp"
#include "loader/registry.hpp"
#include "telemetry/http_server.hpp"
#include "telemetry/progress.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace pl::engine {

// The memory that a pipeline's records live in. Shared with its successor when the configuration is reloaded.
struct pipeline_memory {
  explicit pipeline_memory(std::uint64_t limit) : budget(limit), pool(budget) {}
  memory_budget budget;
  block_pool pool;
};

// Threads: all public functions from one thread (the host's main); `progress` and `waiting` from any.
class pipeline final : private pipeline_events {
 public:
  // Binds all options and creates all instances; connects to nothing. Every problem is reported, with its place. Null where
  // there are errors. previous: what this one is going to replace.
  static std::unique_ptr<pipeline> build(const config::pipeline& settings, services common, loader::registry& plugins,
                                         config::diagnostics& problems, const pipeline* previous = nullptr);
  ~pipeline() override;

  // Asks each node whether its servers are there and fit (`validate --connect`). Changes nothing.
  void check(config::diagnostics& problems);

  // A replay, before `start`, of a pipeline with one source of one lane: which records that would be; that it is these.
  [[nodiscard]] bool replayable();
  outcome windows(pl_bound from, pl_bound until, instance::window_list& out);
  outcome choose(const instance::window_list& windows);
  outcome order(const instance::window_list& windows);
  // Why a sink, if it got records again, would have them twice; empty: it would not.
  [[nodiscard]] std::string why_not_rewritable(std::string_view sink);

  void start();
  // Whether the configuration means the same as that of a running one.
  [[nodiscard]] bool same_as(const pipeline& running) const;
  // Reads no more until `go_on`. True once nothing is in flight; false when that takes longer: ask again, or go on.
  bool come_to_rest(std::chrono::nanoseconds timeout);
  void go_on();
  // Starts, and takes over from one that has come to rest whatever has not changed: its threads and connections go on.
  // Nothing is read twice or left out.
  void replace(pipeline& resting);

  // Reads no more and finishes what is in flight; returns at once.
  void stop();
  // Stops because a node failed, if one did. Call it now and then.
  void supervise();
  // Everything read is settled, or can't be: all lanes have ended.
  [[nodiscard]] bool ended() const;
  void abandon();  // don't wait for what can't be written now
  void join();     // after stop: ends all threads

  [[nodiscard]] const config::pipeline& settings() const noexcept { return settings_; }
  [[nodiscard]] std::string failure() const;  // why it stopped by itself; empty: it didn't
  [[nodiscard]] telemetry::pipeline_progress progress() const;
  void waiting(std::vector<telemetry::not_ready>& into) const;
  [[nodiscard]] std::uint64_t written(std::string_view sink) const;  // rows

 private:
  struct node {
    config::node settings;
    const pl_component* component = nullptr;
    std::shared_ptr<const config::bound_options> options;
  };
  pipeline(config::pipeline settings, services common, std::shared_ptr<pipeline_memory> memory);

  bool bind(loader::registry& plugins, config::diagnostics& problems);
  void check_delivery(config::diagnostics& problems) const;
  void check_upstream(const node& sink, config::diagnostics& problems) const;
  [[nodiscard]] bool exactly_once(const node& sink) const;
  bool create(config::diagnostics& problems);
  void check_columns(config::diagnostics& problems);
  std::unique_ptr<instance> make(const node& n, std::uint32_t index, std::uint32_t of, config::diagnostics& problems,
                                 bool keeps_state = false);
  void make_sinks(config::diagnostics& problems);
  void make_lanes(config::diagnostics& problems);
  lane_graph make_graph(const node& source, std::uint32_t index, std::uint32_t of, config::diagnostics& problems);
  [[nodiscard]] ledger make_ledger(const std::vector<std::string>& reached, std::uint32_t index, std::uint32_t of,
                                   config::diagnostics& problems);
  [[nodiscard]] port_readers readers(const node& of, std::uint32_t port,
                                     const std::vector<std::unique_ptr<transform_slot>>& slots) const;
  [[nodiscard]] std::uint64_t memory_share(const node& n) const;
  void log_start() const;

  [[nodiscard]] const node* find(std::string_view name) const;
  [[nodiscard]] std::shared_ptr<sink_node> find_sink(std::string_view name) const;
  [[nodiscard]] bool unchanged(const node& n, const pipeline& running) const;
  void adopt_sinks(pipeline& running);
  void adopt_lanes(pipeline& running);
  void keep_instances(lane_graph& fresh, lane_graph& old, const pipeline& running);

  void node_failed(std::string_view name, std::string_view why) override;
  void rows_rejected(const std::vector<rejection>& rejected, std::string_view by) override;
  bool bury_rows(std::vector<rejection> rejected, std::string_view by, const std::function<bool()>& give_up) override;
  bool push_letters(const std::vector<rejection>& rejected, std::string_view by,
                    const std::shared_ptr<departure>& arrival);

  const config::pipeline settings_;
  services common_;
  std::shared_ptr<pipeline_memory> memory_;
  dead_letter_office office_;
  std::vector<node> sources_, transforms_,
      sinks_;  // transforms in order of the graph; the dead letters are the last sink
  std::map<std::string, std::shared_ptr<node_meters>, std::less<>> meters_;

  // Instances point into the memory above; batches in queues point into lanes' inboxes: sinks must go before lanes.
  struct running_lane {
    std::string source;
    std::unique_ptr<engine::lane> unit;
  };
  std::vector<running_lane> lanes_;
  std::vector<std::shared_ptr<sink_node>> sink_nodes_;
  std::shared_ptr<sink_node> dead_letters_;

  std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
  telemetry::gauge memory_bytes_, memory_limit_bytes_;
  std::unique_ptr<telemetry::metrics::registration> memory_collector_;
  bool stopping_ = false;
  mutable std::mutex mutex_;
  std::string failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace pl::engine
