// SPDX-License-Identifier: Apache-2.0
// One instance of a component: its life, its calls, and the pl_host table that it sees.
#pragma once

#include "config/bind.hpp"
#include "engine/record_batch.hpp"
#include "engine/schema_pool.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// What all instances of a process share. Outlives them.
struct services {
  telemetry::logger& log;
  telemetry::metrics& metrics;
  schema_pool& schemas;
};

// Sources tell their lane which streams come and go. Called from within poll, start or stop.
class stream_listener {
 public:
  virtual ~stream_listener() = default;
  virtual pl_status stream_announced(std::string_view stream) = 0;
  virtual pl_status stream_assigned(std::string_view stream, begin why, std::uint64_t& next) = 0;
  virtual std::uint64_t stream_lost(std::string_view stream) = 0;  // how far it is settled; PL_UNKNOWN
};

struct said {
  std::string detail, option;
};

// What a call came to. `said`: how the component explains it.
struct outcome {
  pl_status code = PL_OK;
  std::vector<said> why;
  [[nodiscard]] bool ok() const noexcept { return code == PL_OK; }
  [[nodiscard]] std::string text() const;  // one line; never empty for a failure
};

struct emission {
  std::uint32_t port;
  batch_ref data;
};
struct rejection {
  batch_ref of;
  std::uint32_t row;
  std::string why;
};

// A change of what a transform remembers.
struct state_change {
  std::string node, stream, key, value;
  bool erase;
};
// A batch made by a timer, and the stream that it belongs to.
struct belonging {
  record_batch* batch;
  std::string stream;
};

// What a call left behind, to be dealt with once its status is known.
struct yield {
  std::vector<emission> emitted;
  std::vector<rejection> rejected;
  std::vector<batch_ref> released;
  std::vector<state_change> changes;
  std::vector<belonging> belongings;

  // The call failed: what was released, and isn't made of one of `inputs` (which come again), will never be delivered.
  void fail(std::span<record_batch* const> inputs);
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

  // Life. create must have succeeded before anything else is called.
  outcome create();
  outcome check();
  outcome start();
  outcome stop();

  outcome poll(std::uint32_t max_rows, std::size_t max_bytes, std::chrono::nanoseconds timeout, batch_ref& out);
  outcome settle(std::span<const pl_range> ranges);
  outcome apply(record_batch& in, yield& left);
  outcome tick(std::chrono::nanoseconds now, yield& left);
  outcome drop(std::string_view stream);
  outcome write(std::span<record_batch* const> batches, yield& left);
  // For transforms with "state/1"; nothing happens in others.
  [[nodiscard]] bool stateful() const;
  outcome restore(std::string_view stream, std::string_view key, std::string_view value);
  outcome restored(std::string_view stream, bool moved);
  outcome snapshot(std::string_view stream, yield& left);
  // For sinks with "store/1".
  [[nodiscard]] bool keeps_positions() const;
  outcome position(std::string_view source, std::string_view stream, pl_position& out);
  outcome claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                const pl_mark& mark);
  using entry = std::function<void(std::string_view node, std::string_view key, std::string_view value)>;
  outcome load(std::string_view source, std::string_view stream, const entry& each);
  // For sources with "replay/1".
  [[nodiscard]] bool replayable() const;
  using window_list = std::vector<pl::replayable::window>;
  outcome windows(pl_bound from, pl_bound until, window_list& out);
  outcome choose(const window_list& windows);
  outcome order(const window_list& windows);
  // For sinks: whether writing again leaves each record once, and what would make it so.
  outcome rewritable();
  // The output's columns, where the component can say; null: it can't.
  outcome columns(const pl_schema* in, std::uint32_t port, const pl_schema*& out);

  void listen(stream_listener* to) noexcept { listener_ = to; }
  [[nodiscard]] const pl_component& component() const noexcept { return component_; }
  [[nodiscard]] const std::string& node() const noexcept { return where_.node; }
  [[nodiscard]] const std::string& pipeline() const noexcept { return where_.pipeline; }
  [[nodiscard]] services common() const noexcept { return common_; }
  [[nodiscard]] block_pool& pool() const noexcept { return pool_; }

  void log(telemetry::log_level level, std::string_view message) const {
    common_.log.log(level, where_.pipeline, where_.node, message);
  }

 private:
  struct scope;  // one call under way
  friend struct host_functions;

  template <class Table>
  [[nodiscard]] const Table* extension(std::string_view name) const;
  template <class F>
  outcome call(std::string_view function, yield& left, F&& body);
  std::uint32_t make_metric(int kind, std::string_view name, std::string_view doc,
                            std::span<const telemetry::label> labels);

  const pl_component component_;  // a copy: what lies beyond the plugin's `size` is null here
  std::shared_ptr<const config::bound_options> options_;
  services common_;
  block_pool& pool_;
  place where_;
  pl_host host_{};
  void* self_ = nullptr;
  bool created_ = false;
  stream_listener* listener_ = nullptr;
  std::vector<said> said_;

  std::mutex metrics_mutex_;
  std::deque<telemetry::instrument> instruments_;
};

// The table as this build knows it, from one that may be shorter (an older plugin) or longer (a newer one).
pl_component complete(const pl_component& from);

std::string_view status_name(pl_status code);

}  // namespace pl::engine
