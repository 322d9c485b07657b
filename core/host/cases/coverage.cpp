// SPDX-License-Identifier: Apache-2.0
#include "host/cases/coverage.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::host {

namespace {

// Return whether a node reads the output.
bool is_read(const config::pipeline& p, const engine::node_outputs& of, const std::string& port) {
  const auto reads = [&](const config::node& n) {
    return std::ranges::any_of(n.from, [&](const auto& in) {
      return in.node == of.node && (in.port.empty() ? of.ports.front() : in.port) == port;
    });
  };
  return std::ranges::any_of(p.transforms, reads) || std::ranges::any_of(p.sinks, reads);
}

std::string rule_part(const std::string& node, const std::string& rule) {
  return fmt::format("rule {}/{}", node, rule);
}

}  // namespace

coverage::coverage(const config::pipeline& p, const std::vector<engine::node_outputs>& outputs) {
  const auto add_part = [&](std::string part) {
    if (reached_.try_emplace(part, false).second) order_.push_back(std::move(part));
  };
  const auto outputs_of = [&](const std::string& node) -> const engine::node_outputs* {
    const auto at = std::ranges::find(outputs, node, &engine::node_outputs::node);
    return at != outputs.end() && at->role == config::role::transform ? &*at : nullptr;
  };
  for (const auto& s : p.sources) add_part("source " + s.name);
  for (const auto* t : p.transforms_in_order()) {
    names_[t->name] = "transform " + t->name;
    add_part(names_[t->name]);
    for (const auto& in : t->from) {
      const auto* from = outputs_of(in.node);
      inputs_[t->name].push_back(
          from == nullptr ? in.node : fmt::format("{}.{}", in.node, in.port.empty() ? from->ports.front() : in.port));
    }
    const auto* of = outputs_of(t->name);
    if (of == nullptr) continue;
    // What an alert transform emits is covered by its rules, so an output that nothing reads does not count.
    for (const auto& port : of->ports)
      if (!of->alerts || is_read(p, *of, port)) add_part(fmt::format("output {}.{}", t->name, port));
    if (!of->alerts) continue;
    alerting_.push_back(t->name);
    for (const auto& rule : rules_of(*t)) add_part(rule_part(t->name, rule));
  }
  for (const auto& s : p.sinks) add_part("sink " + s.name);
}

// Return the names of alert rules: the members of `rules`, a convention of transforms that emit alerts.
std::vector<std::string> coverage::rules_of(const config::node& n) {
  std::vector<std::string> names;
  const auto* rules = n.options.find("rules");
  if (rules == nullptr) return names;
  for (const auto& rule : rules->children)
    if (const auto* name = rule.find("name")) names.push_back(name->text);
  return names;
}

void coverage::reach(const std::string& part) {
  if (const auto at = reached_.find(part); at != reached_.end()) at->second = true;
}

void coverage::add(const case_rows& made) {
  for (const auto& source : made.sources) reach("source " + source);
  for (const auto& [output, rows] : made.outputs)
    if (!rows.empty()) reach("output " + output);
  for (const auto& [sink, rows] : made.sinks)
    if (!rows.empty()) reach("sink " + sink);
  for (const auto& [node, inputs] : inputs_)
    if (std::ranges::any_of(inputs, [&](const auto& in) {
          const auto rows = made.outputs.find(in);
          return made.sources.contains(in) || (rows != made.outputs.end() && !rows->second.empty());
        }))
      reach(names_[node]);
  for (const auto& node : alerting_)
    for (const auto& [output, rows] : made.outputs)
      if (output.starts_with(node + "."))
        for (const auto& row : rows)
          if (const auto* rule = row.find("rule")) reach(rule_part(node, rule->bytes));
}

std::vector<std::string> coverage::not_reached() const {
  std::vector<std::string> all;
  for (const auto& part : order_)
    if (!reached_.at(part)) all.push_back(part);
  return all;
}

}  // namespace pl::host
