// SPDX-License-Identifier: Apache-2.0
#include "engine/graph_builder.hpp"

#include "engine/dead_letter_writer.hpp"

#include <algorithm>
#include <filesystem>

namespace pl::engine {

std::shared_ptr<sink_node> find_sink(const sink_list& sinks, std::string_view name) {
  const auto at = std::ranges::find_if(sinks, [&](const auto& s) { return s->name() == name; });
  return at == sinks.end() ? nullptr : *at;
}

// Return a node's share of the limit. A quarter is for the sources' buffers, a sixteenth for each sink's buffers, and
// the rest for records.
std::uint64_t graph_builder::memory_share(const bound_node& n) const {
  const auto limit = bound_.settings.memory_limit;
  if (n.settings.role == config::role::source)
    return limit / 4 / std::max<std::size_t>(1, bound_.sources.size()) / n.settings.lanes;
  return limit / 16 / n.settings.writers;
}

std::unique_ptr<instance> graph_builder::make_instance(const bound_node& n, std::uint32_t index, std::uint32_t of,
                                                       config::diagnostics& problems, bool keeps_state) const {
  auto unit =
      std::make_unique<instance>(*n.component, n.options, common_, memory_.pool,
                                 instance::place{bound_.settings.name, n.settings.name, bound_.settings.state_dir,
                                                 index, of, memory_share(n), keeps_state});
  const auto created = unit->create();
  if (created.ok()) {
    for (const auto& d : unit->details())
      problems.warning(d.option.empty() ? n.settings.where : n.options->position_of(d.option), d.message);
    return unit;
  }
  report(n, created.why(), unit->details(), problems);
  return nullptr;
}

meters_by_node graph_builder::make_meters(const meters_by_node& running) const {
  meters_by_node all;
  for (const auto* list : {&bound_.transforms, &bound_.sources, &bound_.sinks})
    for (const auto& n : *list) {
      const auto& name = n.settings.name;
      const auto known = running.find(name);
      const bool same = known != running.end() && known->second->role() == n.settings.role;
      all[name] = same ? known->second
                       : std::make_shared<node_meters>(common_.metrics, bound_.settings.name, name, n.settings.role);
    }
  return all;
}

std::shared_ptr<sink_node> graph_builder::make_sink(const bound_node& n, config::diagnostics& problems) const {
  std::vector<std::unique_ptr<instance>> writers;
  for (std::uint32_t i = 0; i < n.settings.writers; ++i) {
    auto unit = make_instance(n, i, n.settings.writers, problems);
    if (!unit) return nullptr;  // the other writers would report the same
    writers.push_back(std::move(unit));
  }
  return std::make_shared<sink_node>(n.settings, std::move(writers), meters_.find(n.settings.name)->second,
                                     memory_.pool, remove_at());
}

// Return the size at which a sink removes rows from its queue, if `queue.max_bytes` is not smaller. The queues of all such
// sinks, and the writes taken from them, use at most half of the memory for records: no lane waits for what they hold.
std::uint64_t graph_builder::remove_at() const {
  const auto removing = std::ranges::count_if(bound_.sinks, [](const auto& n) {
    return n.settings.when_full != config::full_policy::block ||
           n.settings.on_failure == config::failure_policy::dead_letters;
  });
  return bound_.settings.memory_limit / 8 / std::max<std::uint64_t>(1, static_cast<std::uint64_t>(removing));
}

std::unique_ptr<lane> graph_builder::make_lane(const bound_node& source, std::uint32_t index,
                                               config::diagnostics& problems) const {
  auto unit = make_instance(source, index, source.settings.lanes, problems);
  auto graph = make_graph(source, index, problems);  // also if there is no source, to report all problems
  if (!unit || !graph) return nullptr;
  return std::make_unique<lane>(std::move(unit), *std::move(graph), meters_.find(source.settings.name)->second,
                                memory_.budget);
}

// ---------------------------------------------------------------------------------------------------------- graphs ---

std::vector<const bound_node*> graph_builder::transforms_below(const bound_node& source) const {
  std::vector<const bound_node*> below;
  const auto reached = [&](const config::input& in) {
    return in.node == source.settings.name ||
           std::ranges::any_of(below, [&](const auto* n) { return n->settings.name == in.node; });
  };
  for (const auto& n : bound_.transforms)
    if (std::ranges::any_of(n.settings.from, reached)) below.push_back(&n);
  return below;
}

std::optional<lane_graph> graph_builder::make_graph(const bound_node& source, std::uint32_t index,
                                                    config::diagnostics& problems) const {
  lane_graph graph;
  bool complete = true;
  const bool replayable = source.has(PL_REPLAYABLE);  // state belongs to a position; other sources have none
  const auto of = source.settings.lanes;
  std::vector<std::string_view> reached{source.settings.name};
  std::vector<const bound_node*> units;
  for (const auto* n : transforms_below(source)) {
    reached.emplace_back(n->settings.name);
    auto unit = make_instance(*n, index, of, problems, replayable);
    complete = complete && unit;
    if (!unit) continue;
    auto slot = std::make_unique<transform_slot>();
    slot->unit = std::move(unit);
    slot->meters = meters_.find(n->settings.name)->second;
    slot->retry = n->settings.retry;
    graph.slots.push_back(std::move(slot));
    units.push_back(n);
  }
  graph.source = readers(source, config::port_names(*source.component), 0, graph.slots);
  for (std::size_t i = 0; i < units.size(); ++i) {
    const auto& ports = graph.slots[i]->unit->ports();
    for (std::uint32_t port = 0; port < ports.size(); ++port)
      graph.slots[i]->ports.push_back(readers(*units[i], ports, port, graph.slots));
  }
  graph.demand = demand_of(graph.source);
  graph.sinks = sinks_below(reached);
  auto stores = make_stores(reached, index, of, problems);
  if (!complete || !stores) return std::nullopt;
  graph.stores = *std::move(stores);
  const bool stateful = std::ranges::any_of(graph.slots, [](const auto& slot) { return slot->unit->stateful(); });
  // State that no transform uses any more is reported.
  const auto file = std::filesystem::path(bound_.settings.state_dir) / (bound_.settings.name + ".state.db");
  std::error_code unknown;
  if (graph.stores.empty() && replayable && (stateful || std::filesystem::exists(file, unknown)))
    graph.state = std::make_unique<local_state>(file);
  return graph;
}

namespace {

bool reads_from(const bound_node& sink, const std::vector<std::string_view>& nodes) {
  return std::ranges::any_of(sink.settings.from,
                             [&](const auto& in) { return std::ranges::count(nodes, in.node) != 0; });
}

}  // namespace

// Return the sinks below these nodes, and the dead-letter sink: the lane waits while one of them is full. The sinks of other
// sources must not stop it.
sink_list graph_builder::sinks_below(const std::vector<std::string_view>& reached) const {
  sink_list below;
  for (const auto& n : bound_.sinks)
    if (n.settings.name == dead_letters_node || reads_from(n, reached))
      if (auto sink = find_sink(sinks_, n.settings.name)) below.push_back(std::move(sink));
  return below;
}

// Return the sinks below these nodes that keep positions; nothing if one of them could not be created.
std::optional<position_stores> graph_builder::make_stores(const std::vector<std::string_view>& reached,
                                                          std::uint32_t index, std::uint32_t of,
                                                          config::diagnostics& problems) const {
  std::vector<position_store> stores;
  for (const auto& n : bound_.sinks) {
    if (!reads_from(n, reached) || !bound_.exactly_once(n)) continue;
    auto sink = find_sink(sinks_, n.settings.name);
    auto store = make_instance(n, index, of, problems);
    if (!store || !sink) return std::nullopt;
    stores.push_back({std::move(sink), std::move(store)});
  }
  return position_stores(std::move(stores));
}

port_readers graph_builder::readers(const bound_node& of, std::span<const std::string> ports, std::uint32_t port,
                                    const slot_list& slots) const {
  port_readers found;
  const auto reads = [&](const bound_node& n) {
    return std::ranges::any_of(n.settings.from, [&](const config::input& in) {
      return in.node == of.settings.name && config::port_index(ports, in.port) == port;
    });
  };
  for (const auto& n : bound_.transforms)
    if (reads(n))
      for (const auto& slot : slots)
        if (slot->unit->node() == n.settings.name) found.transforms.push_back(slot.get());
  for (const auto& n : bound_.sinks)
    if (reads(n))
      if (auto sink = find_sink(sinks_, n.settings.name)) found.sinks.push_back(std::move(sink));
  return found;
}

}  // namespace pl::engine
