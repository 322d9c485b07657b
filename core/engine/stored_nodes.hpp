// SPDX-License-Identifier: Apache-2.0
// The transforms that the stored state of one stream belongs to, as it is read: with the plugin of each, so that a
// transform whose node was renamed continues with its state. Not thread-safe.
#pragma once

#include "engine/lane_graph.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::engine {

class stored_nodes {
 public:
  using entries = std::vector<std::pair<std::string, std::string>>;  // key and value

  // Take an entry of the stream itself (without a node), or of a node that the graph does not have.
  void add(std::string_view node, std::string_view key, std::string_view value);

  // Return the name under which the state of a transform was stored, if its node was renamed: there is state of one node
  // of its plugin that the graph does not have, and it is the only one of its plugin that has stored nothing yet.
  [[nodiscard]] std::optional<std::string> former_name(const transform_slot& slot, const lane_graph& graph) const;
  // Remove and return the entries of such a node.
  [[nodiscard]] entries take(const std::string& node);
  // Return the number of entries of each node that are left.
  [[nodiscard]] std::map<std::string, std::size_t, std::less<>> unused() const;

  // Return whether the stored state names the plugin of this node; and the entry that does.
  [[nodiscard]] bool names(std::string_view node) const { return plugins_.contains(node); }
  [[nodiscard]] static std::string key_of(std::string_view node);

 private:
  std::map<std::string, std::string, std::less<>> plugins_;  // by node
  std::map<std::string, entries, std::less<>> unknown_;      // of nodes that the graph does not have
};

}  // namespace pl::engine
