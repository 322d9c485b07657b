// SPDX-License-Identifier: Apache-2.0
#include "engine/open_alerts.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>

namespace pl::engine {

namespace {

struct entry {
  std::string node, key, value;
};

// Return the object with its pipeline and node as the first members.
std::string with_place(const instance& unit, std::string_view object) {
  std::string json = "{\"pipeline\":";
  append_json_string(json, unit.pipeline());
  json += ",\"node\":";
  append_json_string(json, unit.node());
  const auto members = object.substr(object.find('{') + 1);
  json += members.find_first_not_of(" \t") == members.find('}') ? "" : ",";
  return json.append(members);
}

// Return the streams of the source that have state, in any store.
result<std::set<std::string>> stored_streams(lane_graph& graph, std::string_view source) {
  std::set<std::string> all;
  const auto add = [&](const result<std::vector<std::string>>& found) -> result<void> {
    if (!found.ok()) return found.why();
    all.insert(found->begin(), found->end());
    return {};
  };
  for (std::size_t i = 0; i < graph.stores.size(); ++i)
    if (auto added = add(graph.stores.streams(source, i)); !added.ok()) return added.why();
  if (graph.stores.empty() && graph.state && graph.state->exists())
    if (auto added = add(graph.state->streams(source)); !added.ok()) return added.why();
  return all;
}

// Read the state of a stream from the store that keeps it.
result<std::vector<entry>> stored_state(lane_graph& graph, std::string_view source, std::string_view stream) {
  std::vector<entry> all;
  bool has_state = false;
  const auto take = [&](std::string_view node, std::string_view key, std::string_view value) -> result<void> {
    has_state = has_state || (node.empty() && key == state_watermark_key);
    all.push_back({std::string(node), std::string(key), std::string(value)});
    return {};
  };
  result<void> loaded;
  if (graph.stores.empty()) loaded = graph.state->load(source, stream, take);
  for (std::size_t i = 0; i < graph.stores.size() && loaded.ok() && !has_state; ++i) {
    all.clear();
    loaded = graph.stores.load(source, stream, i, take);
  }
  if (!loaded.ok()) return loaded.why();
  return all;
}

result<void> restore(instance& unit, std::string_view stream, const std::vector<entry>& state) {
  for (const auto& e : state)
    if (e.node == unit.node())
      if (auto r = unit.restore(stream, e.key, e.value); !r.ok()) return r;
  return unit.restored(stream, {.delivered = true});
}

}  // namespace

result<alert_list> open_alerts(lane_graph& graph) {
  alert_list all;
  for (const auto& slot : graph.slots) {
    auto& unit = *slot->unit;
    const auto found = unit.open_alerts();
    if (!found.ok()) return found.why();
    for (const auto& alert : *found) {
      if (!is_json(alert) || !alert.starts_with('{'))
        return fatal(fmt::format("'{}' lists an alert that is not a JSON object", unit.node()));
      all.push_back(with_place(unit, alert));
    }
  }
  return all;
}

result<alert_list> stored_alerts(lane_graph& graph, std::string_view source) {
  const auto streams = stored_streams(graph, source);
  if (!streams.ok()) return streams.why();
  for (const auto& slot : graph.slots)
    if (slot->unit->alerting())
      if (auto started = slot->unit->start(); !started.ok()) return started.why();
  result<void> restored;
  for (const auto& stream : *streams) {
    const auto state = stored_state(graph, source, stream);
    if (!state.ok()) return state.why();
    for (const auto& slot : graph.slots)
      if (restored.ok() && slot->unit->alerting()) restored = restore(*slot->unit, stream, *state);
  }
  auto found = restored.ok() ? open_alerts(graph) : result<alert_list>(restored.why());
  for (const auto& slot : graph.slots)
    if (slot->unit->alerting()) (void)slot->unit->stop();
  return found;
}

}  // namespace pl::engine
