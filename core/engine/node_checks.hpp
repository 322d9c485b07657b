// SPDX-License-Identifier: Apache-2.0
// Checks of created instances before anything starts: columns, and servers (`validate --connect`). They run on the
// host's main thread.
#pragma once

#include "engine/bound_pipeline.hpp"
#include "engine/instance.hpp"

#include <string>
#include <vector>

namespace pl::engine {

struct node_instance {
  const bound_node* node;
  instance* unit;
};

// Check each input that names a port of a transform whose ports depend on its options, and note ports that nothing reads.
// instances: as for check_columns.
void check_ports(const bound_pipeline& bound, const std::vector<node_instance>& instances,
                 config::diagnostics& problems);

// Pass columns and their kinds along the graph, as far as components declare what they emit, and report what does not
// fit. instances: all of each node, in graph order. dead_letters: the columns of the dead-letter sink's rows.
void check_columns(const std::vector<node_instance>& instances, const column_set& dead_letters,
                   config::diagnostics& problems);

// What one instance uses, and no other may use at the same time: a client id at a broker, the folder of a spool.
struct exclusive_use {
  std::string pipeline, node, plugin;
  std::string kind, name;
  config::location where;  // the option that sets it, or the node
};
[[nodiscard]] std::vector<exclusive_use> exclusive_uses(const bound_node& node, const std::string& pipeline,
                                                        instance& unit);
// Report what two instances use, in any of the pipelines that one process runs.
void check_exclusive(const std::vector<exclusive_use>& all, config::diagnostics& problems);

// Check, with the first instance of each node, that its servers are reachable and suitable. Changes nothing.
void check_servers(const std::vector<node_instance>& instances, config::diagnostics& problems);

}  // namespace pl::engine
