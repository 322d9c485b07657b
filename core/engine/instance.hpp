// SPDX-License-Identifier: Apache-2.0
// One instance of a component: its lifecycle, the calls into it, and the pl_host table that the component sees.
// The instance runs on the thread of the lane or writer that owns it. The pl_host functions do not check the thread.
#pragma once

#include "config/bind.hpp"
#include "engine/arrival_clocks.hpp"
#include "engine/call_effects.hpp"
#include "engine/call_monitor.hpp"
#include "engine/host_clock.hpp"
#include "engine/plugin_call.hpp"
#include "engine/record_batch.hpp"
#include "engine/schema_pool.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// Services that all instances of a process share. They outlive the instances.
struct services {
  telemetry::logger& log;
  telemetry::metrics& metrics;
  schema_pool& schemas;
  call_monitor* calls = nullptr;                // null: nobody looks for calls that do not return
  std::shared_ptr<simulated_clock> clock = {};  // null: the clock of the machine

  [[nodiscard]] std::int64_t wall_ns() const noexcept { return engine::wall_ns(clock.get()); }
};

// Receives a source's stream events, on the lane's thread, from within poll, start or stop; `receiving` on any thread.
class stream_listener {
 public:
  virtual ~stream_listener() = default;
  virtual result<void> stream_announced(std::string_view stream) = 0;
  // proposed: the start position that the source proposes. Return the position to start at.
  virtual result<std::uint64_t> stream_assigned(std::string_view stream, start_reason why, std::uint64_t proposed) = 0;
  // Return the position up to which the stream is settled, or PL_UNKNOWN.
  virtual std::uint64_t stream_revoked(std::string_view stream) = 0;
  // See pl_host_liveness.
  virtual void receiving(std::string_view why_not) = 0;
  [[nodiscard]] virtual bool arrivals_wanted() const = 0;
  virtual void stream_observed(std::string_view stream, std::uint64_t end, std::int64_t before) = 0;
};

// Receives what a sink reports or asks in the middle of a write ("early_reject/1", "write_size/1", "next_write/1"), on the
// writer's thread.
class write_listener {
 public:
  virtual ~write_listener() = default;
  // Dead-letter a row now. False: the dead-letter queue is full, and the row stays with the sink.
  virtual bool reject_now(rejection row) = 0;
  virtual void progressed() = 0;
  virtual void too_large() = 0;
  // See pl_host_next_write.
  [[nodiscard]] virtual std::span<pl_batch* const> next_write() = 0;
  [[nodiscard]] virtual bool was_peeked() const = 0;
  // Any thread ("liveness/1"). The sink is connected to its server (why_not empty), or not.
  virtual void connected(std::string_view why_not) = 0;
};

class instance {
 public:
  struct place {
    std::string pipeline, node, state_dir;
    std::uint32_t index = 0, of = 1;
    std::uint64_t memory_limit = 0;
    bool keeps_state = false;  // the host offers a transform "state/1"
  };

  // options: of this component; shared with the other instances of the node.
  instance(const pl_component& component, std::shared_ptr<const config::bound_options> options, services common,
           block_pool& pool, place where);
  ~instance();
  instance(const instance&) = delete;
  instance& operator=(const instance&) = delete;

  // A call that fails returns the component's status and a message of one line, which is never empty. A component may
  // report several faults in one call: return those of the last call, each with its option. Empty: it gave no reason.
  // After a successful `create` they are warnings.
  [[nodiscard]] std::span<const failure> details() const noexcept { return details_; }

  // Lifecycle. `create` must have succeeded before any other call.
  result<void> create();
  result<void> check();
  result<void> start();
  result<void> stop();
  // Return whether the component violated the rules of the plugin interface. Every further call fails.
  [[nodiscard]] bool broken() const noexcept { return !broken_.empty(); }
  // Return whether the instance held batches when it was stopped: they are not delivered.
  [[nodiscard]] bool left_undelivered() const noexcept { return left_undelivered_; }

  // status::again: nothing to read now. status::end: no record will ever follow.
  result<batch_ref> poll(std::uint32_t max_rows, std::size_t max_bytes, std::chrono::nanoseconds timeout);
  result<void> settle(std::span<const pl_range> ranges);
  result<void> apply(record_batch& in, call_effects& effects);
  result<void> tick(std::chrono::nanoseconds now, call_effects& effects);
  result<void> revoked(std::string_view stream);
  result<void> write(std::span<record_batch* const> batches, call_effects& effects);
  // For transforms with "state/1"; no effect on others.
  [[nodiscard]] bool stateful() const;
  result<void> restore(std::string_view stream, std::string_view key, std::string_view value);
  struct restored_state {
    bool moved = false;                  // an operator moved the offset
    bool delivered = false;              // what was put until it is delivered, is
    std::uint64_t output_discarded = 0;  // of the records below this position
  };
  result<void> restored(std::string_view stream, const restored_state& how);
  result<void> snapshot(std::string_view stream, call_effects& effects);
  // For sinks with "position_store/1".
  result<pl_position> position(std::string_view source, std::string_view stream);
  // status::again: the position is no longer `seen`.
  result<void> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                     const pl_state_watermark& watermark);
  using entry = std::function<void(std::string_view node, std::string_view key, std::string_view value)>;
  result<void> load(std::string_view source, std::string_view stream, const entry& each);
  // Return the streams of a source that have a position or state in this sink.
  result<std::vector<std::string>> streams(std::string_view source);
  // For transforms with "alerts/1". Each open alert is a JSON object.
  [[nodiscard]] bool alerting() const;
  result<std::vector<std::string>> open_alerts();
  // For sources with "replay/1".
  [[nodiscard]] bool replayable() const;
  [[nodiscard]] bool resets_offsets() const;
  using window_list = std::vector<pl::replayable::window>;
  result<window_list> windows(pl_bound from, pl_bound until);
  result<void> select(const window_list& windows);
  result<void> reset_offsets(const window_list& windows);
  // For sinks: ok if a record that is written again is still stored once. A failure explains how to achieve that.
  result<void> rewritable();
  // Return what only one instance may use at a time.
  [[nodiscard]] std::vector<pl::exclusive_user::resource> exclusive();
  // Return the names of the output ports, in the order of their indexes.
  [[nodiscard]] const std::vector<std::string>& ports() const noexcept { return ports_; }
  // Return the columns of its input that a transform uses; nothing: all.
  [[nodiscard]] const std::optional<column_use>& used_columns() const noexcept { return used_columns_; }
  // Return the columns of an output port and their kinds, as far as they are known.
  result<column_set> columns(const column_set& in, std::uint32_t port);

  void listen(stream_listener* to) noexcept { listener_ = to; }
  void report_writes_to(write_listener* to) {
    std::scoped_lock lock(write_listener_mutex_);
    write_listener_ = to;
  }
  // Transforms: the clocks of the lane, and whether the component uses them.
  void read_clocks(const arrival_clocks* of_lane) noexcept { clocks_ = of_lane; }
  [[nodiscard]] bool uses_clocks() const noexcept { return uses_clocks_; }
  [[nodiscard]] const pl_component& component() const noexcept { return component_; }
  [[nodiscard]] const place& where() const noexcept { return where_; }
  [[nodiscard]] const std::string& node() const noexcept { return where_.node; }
  [[nodiscard]] const std::string& pipeline() const noexcept { return where_.pipeline; }
  [[nodiscard]] services common() const noexcept { return common_; }
  [[nodiscard]] block_pool& pool() const noexcept { return pool_; }

  void log(telemetry::log_level level, std::string_view message) const {
    common_.log.log(level, where_.pipeline, where_.node, message);
  }

 private:
  friend struct host_functions;

  // The code of a call, which is run at once: a reference to a function object.
  class body_ref {
   public:
    template <class F>
    explicit body_ref(F& of) noexcept : of_(&of), run_([](void* f) -> pl_status { return (*static_cast<F*>(f))(); }) {}
    pl_status operator()() const { return run_(of_); }

   private:
    void* of_;
    pl_status (*run_)(void*);
  };

  // Return a text of the component without the values of its secrets.
  [[nodiscard]] std::string masked(std::string_view text) const {
    return options_ == nullptr ? std::string(text) : options_->secrets().masked(text);
  }
  template <class F>
  result<void> call(plugin_function function, call_effects& effects, F&& body, plugin_call::batches passed = {}) {
    return run(function, effects, body_ref(body), passed);
  }
  template <class F>
  result<void> call(plugin_function function, F&& body) {
    call_effects effects;
    return run(function, effects, body_ref(body), {});
  }
  result<void> run(plugin_function function, call_effects& effects, body_ref body, plugin_call::batches passed);
  pl_status run_checked(plugin_call& now, body_ref body);
  result<void> result_of(plugin_function function, pl_status code);
  failure fail(plugin_function function, std::string why);
  pl_status look_up_extensions();
  result<void> ask_ports();
  result<void> ask_used_columns();
  pl_status take_polled(pl_status code, pl_batch* raw, batch_ref& batch);
  std::uint32_t make_metric(int kind, std::string_view name, std::string_view doc,
                            std::span<const telemetry::label> labels);
  struct instrument;
  static void record(instrument& to, double value);

  const pl_component component_;  // a copy: fields beyond the plugin's `size` are null here
  std::shared_ptr<const config::bound_options> options_;
  services common_;
  block_pool& pool_;
  place where_;
  pl_host host_{};
  void* self_ = nullptr;
  bool created_ = false, left_undelivered_ = false;
  std::vector<std::string> ports_;  // with PL_OPTION_PORTS, from `create` on
  std::optional<column_use> used_columns_;
  std::atomic<stream_listener*> listener_{nullptr};
  std::mutex write_listener_mutex_;  // a thread of the component's own may report
  write_listener* write_listener_ = nullptr;
  const arrival_clocks* clocks_ = nullptr;
  bool uses_clocks_ = false;
  std::vector<failure> details_;  // of the last call
  std::string broken_;            // the component violated the interface: it is only stopped and destroyed

  const std::shared_ptr<call_clock> clock_;
  const plugin_call::names names_;  // in the clock
  // The component's extensions, up to the size of each table. Functions that it lacks are null.
  struct extensions {
    pl_ext_columns columns;
    pl_ext_position_store positions;
    pl_ext_state state;
    pl_ext_alerts alerts;
    pl_ext_replay replay;
    pl_ext_exclusive exclusive;
    pl_ext_rewrite rewrite;
    pl_ext_ports ports;
    pl_ext_demand demand;
  };
  extensions offered_{};

  std::atomic<std::uint64_t> state_bytes_{0};  // "memory/1"

  std::mutex metrics_mutex_;
  struct instrument {
    telemetry::instrument shown;
    std::optional<telemetry::gauge> sum;  // PL_SUM
    double share = 0;                     // of this instance in the sum
  };
  std::deque<instrument> instruments_;

  std::uint64_t output_discarded_ = 0;  // of the records below, while `restored` is called
};

// Return a copy of the table in the layout of this build. `from` may be shorter (an older plugin) or longer (a newer
// one).
pl_component complete(const pl_component& from);

}  // namespace pl::engine
