// SPDX-License-Identifier: Apache-2.0
// One lane's graph behind its source. The graph is plain data, built on the host's main thread and owned by the lane.
// It is exchanged only while the lane is quiescent.
#pragma once

#include "config/pipeline.hpp"
#include "engine/column_demand.hpp"
#include "engine/instance.hpp"
#include "engine/local_state.hpp"
#include "engine/node_meters.hpp"
#include "engine/position_stores.hpp"
#include "engine/sink_node.hpp"

#include <memory>
#include <string_view>
#include <vector>

namespace pl::engine {

using sink_list = std::vector<std::shared_ptr<sink_node>>;
struct transform_slot;

// The nodes that read from one port.
struct port_readers {
  std::vector<transform_slot*> transforms;
  sink_list sinks;
};

// One lane's instance of a transform.
struct transform_slot {
  std::shared_ptr<instance> unit;
  std::shared_ptr<node_meters> meters;
  config::retry_settings retry;
  std::vector<port_readers> ports;
  bool started = false;
  bool needs_state = false;  // it joined a lane that runs: the state of the assigned streams is not restored yet
};

struct lane_graph {
  port_readers source;
  std::vector<std::unique_ptr<transform_slot>> slots;  // each after the nodes that it reads from
  sink_list sinks;                                     // the sinks that the lane reaches, and the dead-letter sink
  position_stores stores;                              // empty: delivery is at least once
  column_demand demand;                                // the columns of the source that are used
  std::unique_ptr<local_state> state;                  // keeps transforms' state if no sink does; null: not needed

  [[nodiscard]] const transform_slot* find(std::string_view node) const;
  // Return whether everything that a transform emits goes to this position store, and nowhere else.
  [[nodiscard]] bool emits_only_to(const transform_slot& slot, std::size_t store) const;
  // Return the position store that keeps the state of transforms, unless another one has it already: the one that alone
  // receives the alerts, so that what timers emit and their state are one transaction; else the first.
  [[nodiscard]] std::size_t state_store() const;
  // Let the graph write to the sinks that a reload keeps, instead of the sinks of the same names that it was built with.
  void use(const sink_list& kept);
};

// Return the columns that the readers of a port use.
[[nodiscard]] column_demand demand_of(const port_readers& readers);

}  // namespace pl::engine
