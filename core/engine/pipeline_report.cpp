// SPDX-License-Identifier: Apache-2.0
// What a pipeline reports to operators: totals of its nodes and open alerts; and how it starts over (run --fresh).
#include "engine/open_alerts.hpp"
#include "engine/pipeline.hpp"

#include <fmt/format.h>

#include <iterator>
#include <set>

namespace pl::engine {

std::vector<node_totals> pipeline::totals() const {
  std::vector<node_totals> all;
  for (const auto* list : {&bound_.sources, &bound_.transforms})
    for (const auto& n : *list) {
      const auto& meters = *meters_.find(n.settings.name)->second;
      all.push_back({n.settings.name, n.settings.role, n.has(PL_ALERTS), meters.out_total(), meters.rejected_total()});
    }
  for (const auto& n : bound_.sinks)
    if (const auto sink = find_sink(sinks_, n.settings.name); sink && n.settings.name != dead_letters_node)
      all.push_back({n.settings.name, n.settings.role, false, sink->meters().out_total(),
                     sink->meters().rejected_total(), sink->meters().dropped_total()});
  return all;
}

std::vector<node_outputs> pipeline::outputs() {
  std::vector<node_outputs> all;
  for (const auto& [n, unit] : instances()) {
    const auto& name = n->settings.name;
    const bool known = std::ranges::any_of(all, [&](const auto& o) { return o.node == name; });
    if (n->settings.role == config::role::sink || known) continue;
    auto columns = n->settings.role == config::role::source ? unit->columns({}, 0) : result<column_set>(column_set{});
    all.push_back({name, n->settings.role, n->has(PL_ALERTS), unit->ports(),
                   columns.ok() ? std::move(columns).value() : column_set{}});
  }
  return all;
}

bool pipeline::continued() const {
  return std::ranges::any_of(lanes_, [](const auto& l) { return l.unit->continued(); });
}

// ---------------------------------------------------------------------------------------------------------- alerts ---

void pipeline::ask_for_alerts(const std::shared_ptr<alert_request>& request) const {
  std::size_t number = 0;
  for (const auto& l : lanes_)
    l.unit->ask(request, fmt::format("{}/{} (lane {})", settings().name, l.source, number++));
}

result<alert_list> pipeline::stored_alerts() {
  alert_list all;
  std::set<std::string> done;
  for (auto& l : lanes_) {
    if (!done.insert(l.source).second) continue;  // one lane can restore the streams of all
    auto found = engine::stored_alerts(l.unit->graph(), l.source);
    if (!found.ok()) return found.why();
    std::ranges::move(*found, std::back_inserter(all));
  }
  return all;
}

// --------------------------------------------------------------------------------------------------- starting over ---

std::string pipeline::why_not_fresh() {
  for (const auto& n : bound_.sinks)
    if (bound_.exactly_once(n))
      return fmt::format(
          "sink '{}' keeps the positions of its streams (delivery: exactly_once), and has the rows; delete both there",
          n.settings.name);
  for (auto& l : lanes_)
    if (l.unit->source().resets_offsets())
      return fmt::format(
          "source '{}' continues at the offset that its server keeps; reset it with 'pipeline-host replay CONFIG "
          "--from "
          "beginning --reset-offsets'",
          l.source);
  return {};
}

result<bool> pipeline::forget_state() {
  for (auto& l : lanes_) {
    auto& state = l.unit->graph().state;
    if (!state || !state->exists()) continue;
    if (auto forgotten = state->forget(); !forgotten.ok()) return forgotten.why();
    return true;  // all lanes share the file
  }
  return false;
}

}  // namespace pl::engine
