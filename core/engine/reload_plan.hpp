// SPDX-License-Identifier: Apache-2.0
// Determines what a reload does with each node. The plan is a pure function of the running and the wanted
// configuration, and may be made on any thread.
#pragma once

#include "engine/bound_pipeline.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

enum class reload_action : std::uint8_t { keep, replace, add, remove };
[[nodiscard]] std::string_view to_string(reload_action action);

struct node_change {
  std::string node;
  config::role role;
  reload_action action;
  std::string reason;  // of replace: "writers", "options: rules", ...; else empty
  // A replaced sink can write what its predecessor has queued: everything above it is kept, and it keeps positions if and
  // only if its predecessor did. If not, the records are read again.
  bool takes_queue = false;
};

struct reload_plan {
  std::vector<node_change> nodes;     // the wanted nodes in order (sources, transforms, sinks), then the removed ones
  std::vector<std::string> settings;  // of the pipeline as a whole that changed: "memory_limit"

  [[nodiscard]] bool changes_nothing() const;
  [[nodiscard]] bool keeps(std::string_view node) const;
  [[nodiscard]] bool takes_queue(std::string_view sink) const;
  [[nodiscard]] std::vector<std::string> kept() const;  // names of nodes
  // Return a line for each change: "sink store: replace (writers)". Empty if nothing changes.
  [[nodiscard]] std::vector<std::string> lines() const;
};

[[nodiscard]] reload_plan plan_reload(const bound_pipeline& running, const bound_pipeline& wanted);

}  // namespace pl::engine
