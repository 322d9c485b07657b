// SPDX-License-Identifier: Apache-2.0
// A pipeline that is built from its configuration, started, supervised, replaced by a changed pipeline, and stopped.
// Call the functions on the host's main thread, unless a comment names another thread.
#pragma once

#include "config/bind.hpp"
#include "config/pipeline.hpp"
#include "engine/alert_request.hpp"
#include "engine/bound_pipeline.hpp"
#include "engine/dead_letter_writer.hpp"
#include "engine/graph_builder.hpp"
#include "engine/lane.hpp"
#include "engine/memory.hpp"
#include "engine/node_checks.hpp"
#include "engine/reload_plan.hpp"
#include "engine/sink_node.hpp"
#include "loader/registry.hpp"
#include "telemetry/progress.hpp"
#include "telemetry/readiness.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace pl::engine {

// What a node did since its pipeline started.
struct node_totals {
  std::string node;
  config::role role;
  bool alerts;            // a transform that emits alerts
  std::uint64_t out = 0;  // a source: records read; a transform: emitted; a sink: stored
  std::uint64_t rejected = 0;
  std::uint64_t dropped = 0;  // by a sink whose queue was full
};

// What a source or transform emits.
struct node_outputs {
  std::string node;
  config::role role;
  bool alerts;  // a transform that emits alerts
  std::vector<std::string> ports;
  column_set columns;  // of sources, as far as they are known
};

class pipeline final : private pipeline_events {
 public:
  // Bind all options and create all instances, without connecting. Every problem is reported with its place. Return
  // null if there are errors. previous: the pipeline that this one will replace.
  static std::unique_ptr<pipeline> build(const config::pipeline& settings, services common, loader::registry& plugins,
                                         config::diagnostics& problems, const pipeline* previous = nullptr);
  ~pipeline() override;

  // Check that each node's servers are reachable and suitable (`validate --connect`). Changes nothing.
  void check(config::diagnostics& problems);

  // Return what the instances of sources and sinks use exclusively, once they are started.
  [[nodiscard]] std::vector<exclusive_use> exclusive_uses();

  // For a stream that is moved to a source of this pipeline, before `start`: the positions in the sinks below `reader`
  // that keep them, for the stream of the source `of`; and storing such positions for `reader`.
  result<std::vector<pl_position>> positions(std::string_view reader, std::string_view of, std::string_view stream);
  result<void> adopt_positions(std::string_view reader, std::string_view stream, const std::vector<pl_position>& from);
  // Likewise, the state of transforms. `adopt_state` returns false if a sink keeps it: it cannot be moved there.
  result<std::vector<state_change>> stored_state(std::string_view reader, std::string_view of, std::string_view stream);
  result<bool> adopt_state(std::string_view reader, const std::vector<state_change>& from);
  // Delete the state of a source that is no longer configured, where no sink keeps it.
  result<void> delete_state(std::string_view reader, std::string_view of, std::vector<state_change> state);

  // For replays of a pipeline with one source of one lane, before `start`: find the records, and read only these.
  [[nodiscard]] bool replayable();
  result<instance::window_list> windows(pl_bound from, pl_bound until);
  result<void> select(const instance::window_list& windows);
  result<void> reset_offsets(const instance::window_list& windows);
  // Return why a sink would store a record twice if it received the record again. Empty: the sink stores it once.
  [[nodiscard]] std::string why_not_rewritable(std::string_view sink);

  // Describe the outputs of sources and transforms, before `start`.
  [[nodiscard]] std::vector<node_outputs> outputs();

  // For `run --fresh`, before `start`. Return why forgetting local state would not make the pipeline start over; empty: it
  // would.
  [[nodiscard]] std::string why_not_fresh();
  // Forget the positions and the state that earlier runs stored locally. False: there were none.
  result<bool> forget_state();
  // List the open alerts that stored state contains, without starting the pipeline.
  result<alert_list> stored_alerts();

  void start();
  // Return the settings with secrets that were read from their files again, if these, or files that options name
  // (certificates), have changed since the start.
  [[nodiscard]] std::optional<config::pipeline> settings_with_changed_files() const;
  // Return what replacing a running pipeline with this one would change.
  [[nodiscard]] reload_plan plan_replacing(const pipeline& running) const;
  [[nodiscard]] bool same_as(const pipeline& running) const { return plan_replacing(running).changes_nothing(); }
  // Read no more until `resume`. True once `successor` can replace this pipeline: nothing is in flight, or what a sink
  // cannot write now can stay queued. False: the timeout has passed; call `quiesce` again or `resume`.
  bool quiesce(std::chrono::nanoseconds timeout, const pipeline& successor);
  // Return what `quiesce` waits for.
  [[nodiscard]] std::string why_not_quiescent(const pipeline& successor) const;
  void resume();
  // Start, and take over the nodes that the plan keeps from a quiescent pipeline, with their threads and connections.
  // A changed sink takes over what its predecessor could not write.
  void replace(pipeline& running);

  void stop();                       // read no more and finish what is in flight; returns at once
  void supervise();                  // stop if a node has failed; to be called regularly
  [[nodiscard]] bool ended() const;  // all lanes have ended: what was read is settled, or cannot be
  void abandon();                    // stop waiting for records that cannot be written now
  void join();                       // after `stop`: end all threads

  // Any thread may call these functions.
  [[nodiscard]] const config::pipeline& settings() const noexcept { return bound_.settings; }
  [[nodiscard]] std::string failure() const;  // why the pipeline stopped by itself; empty: no failure
  [[nodiscard]] telemetry::pipeline_progress progress() const;
  void waiting(std::vector<telemetry::not_ready>& into) const;        // nodes that do not work, and why
  void degraded(std::vector<telemetry::not_ready>& into) const;       // sinks that do not work, but stop nothing else
  void not_accepting(std::vector<telemetry::not_ready>& into) const;  // sources that cannot take records, and why
  [[nodiscard]] std::uint64_t written(std::string_view sink) const;   // rows
  [[nodiscard]] std::vector<node_totals> totals() const;
  [[nodiscard]] bool continued() const;  // a stream continued where an earlier run had stopped
  void ask_for_alerts(const std::shared_ptr<alert_request>& request) const;

 private:
  struct running_lane {
    std::string source;
    std::unique_ptr<lane> unit;
  };
  pipeline(bound_pipeline bound, services common, std::shared_ptr<pipeline_memory> memory);

  bool create(config::diagnostics& problems, const pipeline* previous);
  void limit_calls() const;
  [[nodiscard]] std::vector<node_instance> instances();
  [[nodiscard]] lane_graph& graph_of(std::string_view source);  // of its first lane
  void warn_of_default_dead_letters() const;
  void remove_old_queues() const;
  [[nodiscard]] bool can_hand_over(const reload_plan& plan);
  [[nodiscard]] bool lanes_can_hand_over(const reload_plan& plan) const;
  bool adopt_sinks(pipeline& running, const reload_plan& plan);
  bool take_queue(sink_node& from, const reload_plan& plan);
  void adopt_lanes(pipeline& running, const reload_plan& plan);
  void adopt_lane(running_lane& mine, running_lane& theirs, const reload_plan& plan);
  void warn_of_unused_state(const lane_graph& before, const lane_graph& now) const;
  [[nodiscard]] bool stores_alerts_only(const bound_node& sink) const;
  [[nodiscard]] refused_at role_of(std::string_view node) const;

  void node_failed(std::string_view name, std::string_view why) override;
  void rows_rejected(const std::vector<rejection>& rejected, std::string_view node) override;
  [[nodiscard]] bool dead_letters_full() const override;
  std::unique_ptr<pending_dead_letters> rows_rejected_urgently(std::vector<rejection> rejected,
                                                               std::string_view node) override;
  [[nodiscard]] bool failed() const override { return failed_; }

  const bound_pipeline bound_;
  services common_;
  std::shared_ptr<pipeline_memory> memory_;
  meters_by_node meters_;
  graph_builder builder_;
  // Instances point into the memory; batches in queues point into lanes' inboxes: sinks are destroyed before lanes.
  std::vector<running_lane> lanes_;
  sink_list sinks_;
  dead_letter_writer dead_letters_;

  std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
  std::unique_ptr<telemetry::metrics::registration> memory_collector_;
  bool stopping_ = false;
  std::optional<std::chrono::steady_clock::time_point> quiescing_since_;
  mutable std::mutex mutex_;
  std::string failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace pl::engine
