// SPDX-License-Identifier: Apache-2.0
// Creates the parts of a bound pipeline: instances, sinks, lanes and their graphs. The builder does not
// start them. It runs on the host's main thread.
#pragma once

#include "engine/bound_pipeline.hpp"
#include "engine/lane.hpp"
#include "engine/lane_graph.hpp"
#include "engine/memory.hpp"
#include "engine/sink_node.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

using meters_by_node = std::map<std::string, std::shared_ptr<node_meters>, std::less<>>;

[[nodiscard]] std::shared_ptr<sink_node> find_sink(const sink_list& sinks, std::string_view name);

class graph_builder {
 public:
  // sinks, meters: owned by the caller. A graph refers to the entries that exist when it is made.
  graph_builder(const bound_pipeline& bound, services common, pipeline_memory& memory, const sink_list& sinks,
                const meters_by_node& meters)
      : bound_(bound), common_(common), memory_(memory), sinks_(sinks), meters_(meters) {}

  // Make the meters of all nodes. running: those of the pipeline that is replaced, whose totals continue.
  [[nodiscard]] meters_by_node make_meters(const meters_by_node& running) const;
  // Return null if a problem was reported.
  [[nodiscard]] std::shared_ptr<sink_node> make_sink(const bound_node& n, config::diagnostics& problems) const;
  [[nodiscard]] std::unique_ptr<lane> make_lane(const bound_node& source, std::uint32_t index,
                                                config::diagnostics& problems) const;
  // Make the graph of everything that a source reaches. A transform that two sources reach has an instance in the lanes
  // of both. Return nothing if a problem was reported: a graph without one of its parts would lose records.
  [[nodiscard]] std::optional<lane_graph> make_graph(const bound_node& source, std::uint32_t index,
                                                     config::diagnostics& problems) const;

 private:
  [[nodiscard]] std::uint64_t remove_at() const;
  using slot_list = std::vector<std::unique_ptr<transform_slot>>;

  [[nodiscard]] std::unique_ptr<instance> make_instance(const bound_node& n, std::uint32_t index, std::uint32_t of,
                                                        config::diagnostics& problems, bool keeps_state = false) const;
  [[nodiscard]] std::vector<const bound_node*> transforms_below(const bound_node& source) const;
  [[nodiscard]] sink_list sinks_below(const std::vector<std::string_view>& reached) const;
  [[nodiscard]] std::optional<position_stores> make_stores(const std::vector<std::string_view>& reached,
                                                           std::uint32_t index, std::uint32_t of,
                                                           config::diagnostics& problems) const;
  // Return the readers of one of the node's output ports.
  [[nodiscard]] port_readers readers(const bound_node& of, std::span<const std::string> ports, std::uint32_t port,
                                     const slot_list& slots) const;
  [[nodiscard]] std::uint64_t memory_share(const bound_node& n) const;

  const bound_pipeline& bound_;
  services common_;
  pipeline_memory& memory_;
  const sink_list& sinks_;
  const meters_by_node& meters_;
};

}  // namespace pl::engine
