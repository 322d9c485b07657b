// SPDX-License-Identifier: Apache-2.0
#include "engine/stored_nodes.hpp"

#include <algorithm>
#include <iterator>

namespace pl::engine {

namespace {

constexpr std::string_view prefix = "plugin/";  // of the keys of entries of a stream; never change it

std::string_view plugin_of(const transform_slot& slot) { return pl::view(slot.unit->component().name); }

}  // namespace

std::string stored_nodes::key_of(std::string_view node) { return std::string(prefix).append(node); }

void stored_nodes::add(std::string_view node, std::string_view key, std::string_view value) {
  if (!node.empty())
    unknown_[std::string(node)].emplace_back(key, value);
  else if (key.starts_with(prefix))
    plugins_.insert_or_assign(std::string(key.substr(prefix.size())), std::string(value));
}

std::optional<std::string> stored_nodes::former_name(const transform_slot& slot, const lane_graph& graph) const {
  const auto plugin = plugin_of(slot);
  const auto is_new = [&](const auto& other) {
    return other->unit->stateful() && plugin_of(*other) == plugin && !names(other->unit->node());
  };
  if (names(slot.unit->node()) || std::ranges::count_if(graph.slots, is_new) != 1) return std::nullopt;
  const auto fits = [&](const auto& other) {
    const auto named = plugins_.find(other.first);
    return named != plugins_.end() && named->second == plugin;
  };
  const auto at = std::ranges::find_if(unknown_, fits);
  if (at == unknown_.end() || std::find_if(std::next(at), unknown_.end(), fits) != unknown_.end()) return std::nullopt;
  return at->first;
}

stored_nodes::entries stored_nodes::take(const std::string& node) { return std::move(unknown_.extract(node).mapped()); }

std::map<std::string, std::size_t, std::less<>> stored_nodes::unused() const {
  std::map<std::string, std::size_t, std::less<>> counts;
  for (const auto& [node, of] : unknown_) counts.emplace(node, of.size());
  return counts;
}

}  // namespace pl::engine
