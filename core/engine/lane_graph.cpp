// SPDX-License-Identifier: Apache-2.0
#include "engine/lane_graph.hpp"

#include <algorithm>

namespace pl::engine {

namespace {

void replace_by_name(std::shared_ptr<sink_node>& sink, const sink_list& kept) {
  const auto at = std::ranges::find_if(kept, [&](const auto& k) { return k->name() == sink->name(); });
  if (at != kept.end()) sink = *at;
}

}  // namespace

const transform_slot* lane_graph::find(std::string_view node) const {
  const auto at = std::ranges::find_if(slots, [&](const auto& s) { return s->unit->node() == node; });
  return at == slots.end() ? nullptr : at->get();
}

bool lane_graph::emits_only_to(const transform_slot& slot, std::size_t store) const {
  return std::ranges::all_of(slot.ports, [&](const port_readers& port) {
    return std::ranges::all_of(port.sinks, [&](const auto& sink) { return stores.index_of(*sink) == store; }) &&
           std::ranges::all_of(port.transforms, [&](const auto* next) { return emits_only_to(*next, store); });
  });
}

column_demand demand_of(const port_readers& readers) {
  column_demand all{!readers.sinks.empty(), {}};
  for (const auto* slot : readers.transforms) {
    const auto& used = slot->unit->used_columns();
    all.everything = all.everything || !used;
    if (!used) continue;
    all.names.insert(used->columns.begin(), used->columns.end());
    if (!used->passes_on) continue;
    for (const auto& port : slot->ports) all.add(demand_of(port));
  }
  return all;
}

std::size_t lane_graph::state_store() const {
  for (const auto& slot : slots) {
    if ((slot->unit->component().caps & PL_ALERTS) == 0 || !slot->unit->stateful()) continue;
    for (std::size_t i = 0; i < stores.size(); ++i)
      if (emits_only_to(*slot, i)) return i;
  }
  return 0;
}

void lane_graph::use(const sink_list& kept) {
  for (auto& sink : sinks) replace_by_name(sink, kept);
  for (auto& sink : source.sinks) replace_by_name(sink, kept);
  for (auto& slot : slots)
    for (auto& port : slot->ports)
      for (auto& sink : port.sinks) replace_by_name(sink, kept);
  stores.for_each_sink([&](auto& sink) { replace_by_name(sink, kept); });
}

}  // namespace pl::engine
