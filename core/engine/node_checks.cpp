// SPDX-License-Identifier: Apache-2.0
#include "engine/node_checks.hpp"

#include "engine/dead_letter_writer.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace pl::engine {

namespace {

// Columns of one input of a node, and the node and port that it comes from.
struct node_input {
  column_set columns;
  std::string from;
};

// Return what holds for all inputs: nothing if their columns differ, and the kinds that are the same.
column_set common_columns(const std::vector<node_input>& inputs) {
  if (inputs.empty()) return {};
  auto all = inputs.front().columns;
  for (const auto& in : inputs) {
    if (in.columns.schema != all.schema) return {};
    for (column_index c = 0; c < all.kinds.size(); ++c)
      if (in.columns.kind(c) != all.kinds[c]) all.kinds[c] = PL_NULL;
  }
  return all;
}

// Follows the columns from node to node, in graph order.
class column_flow {
 public:
  column_flow(const column_set& dead_letters, config::diagnostics& problems)
      : dead_letters_(dead_letters), problems_(problems) {}

  void pass(const node_instance& to) {
    const auto inputs = inputs_of(*to.node);
    if (to.node->settings.role == config::role::sink) {
      // Each input has columns of its own, and each of them must fit.
      for (const auto& in : inputs) (void)ask(to, in.columns, 0, inputs.size() > 1 ? in.from : std::string());
      return;
    }
    const auto in = common_columns(inputs);
    const auto ports = to.unit->ports();
    for (std::uint32_t port = 0; port < ports.size(); ++port) {
      emitted_[{to.node->settings.name, ports[port]}] = ask(to, in, port, {});
      if (port == 0) emitted_[{to.node->settings.name, {}}] = emitted_[{to.node->settings.name, ports[port]}];
    }
  }

 private:
  [[nodiscard]] std::vector<node_input> inputs_of(const bound_node& n) const {
    if (n.settings.name == dead_letters_node) return {{dead_letters_, {}}};
    std::vector<node_input> inputs;
    for (const auto& in : n.settings.from) {
      const auto known = emitted_.find({in.node, in.port});
      inputs.push_back({known != emitted_.end() ? known->second : column_set{},
                        in.port.empty() ? in.node : fmt::format("{}.{}", in.node, in.port)});
    }
    return inputs;
  }

  column_set ask(const node_instance& to, const column_set& in, std::uint32_t port, const std::string& from) {
    auto found = to.unit->columns(in, port);
    if (found.ok()) return std::move(found).value();
    if (!to.unit->details().empty()) {
      const auto hint = from.empty() ? from : fmt::format("the rows of '{}' have these columns", from);
      report(*to.node, found.why(), to.unit->details(), problems_, hint);
    }
    return {};
  }

  const column_set& dead_letters_;
  config::diagnostics& problems_;
  std::map<std::pair<std::string, std::string>, column_set> emitted_;  // by node and port; "": the first port
};

bool reads(const bound_node& n, const std::string& node, const std::string& port) {
  return std::ranges::any_of(n.settings.from, [&](const auto& in) { return in.node == node && in.port == port; });
}

}  // namespace

void check_ports(const bound_pipeline& bound, const std::vector<node_instance>& instances,
                 config::diagnostics& problems) {
  std::set<const bound_node*> checked;
  for (const auto& [of, unit] : instances) {
    if (!of->has(PL_OPTION_PORTS) || !checked.insert(of).second) continue;
    const auto ports = unit->ports();
    const auto& name = of->settings.name;
    bool all_named = true, any_read = false;  // a misspelt port has a reader in mind
    for (const auto* list : {&bound.transforms, &bound.sinks})
      for (const auto& n : *list)
        for (const auto& in : n.settings.from) {
          if (in.node != name) continue;
          any_read = true;
          all_named &= !in.port.empty() && config::port_index(ports, in.port).has_value();
          if (in.port.empty())
            problems.error(
                in.where,
                fmt::format("'{}' ({}) has several outputs, and this names none of them", name, of->settings.plugin),
                fmt::format("write {}.PORT; outputs are: {}", name, fmt::join(ports, ", ")));
          else if (!config::port_index(ports, in.port))
            config::report_unknown_port(in, of->settings, ports, problems);
        }
    for (const auto& port : ports) {
      const auto read = [&](const auto& n) { return reads(n, name, port); };
      if (any_read && all_named && std::ranges::none_of(bound.transforms, read) &&
          std::ranges::none_of(bound.sinks, read))
        problems.note(of->settings.where,
                      fmt::format("nothing reads from '{}.{}', so its rows are discarded", name, port));
    }
  }
}

void check_columns(const std::vector<node_instance>& instances, const column_set& dead_letters,
                   config::diagnostics& problems) {
  column_flow flow(dead_letters, problems);
  for (const auto& each : instances) flow.pass(each);
}

std::vector<exclusive_use> exclusive_uses(const bound_node& node, const std::string& pipeline, instance& unit) {
  std::vector<exclusive_use> all;
  for (auto& r : unit.exclusive())
    all.push_back({pipeline, node.settings.name, node.settings.plugin, std::move(r.kind), std::move(r.name),
                   r.option.empty() ? node.settings.where : node.options->position_of(r.option)});
  return all;
}

void check_exclusive(const std::vector<exclusive_use>& all, config::diagnostics& problems) {
  std::map<std::pair<std::string_view, std::string_view>, const exclusive_use*> first;
  for (const auto& use : all) {
    const auto [at, fresh] = first.try_emplace({use.kind, use.name}, &use);
    if (fresh) continue;
    const auto& other = *at->second;
    problems
        .error(use.where,
               fmt::format("the {} {} is used twice: by {}/{} and by {}/{}", use.kind, use.name, other.pipeline,
                           other.node, use.pipeline, use.node),
               "give each of them its own")
        .note(other.where, "it is used here, too");
  }
}

void check_servers(const std::vector<node_instance>& instances, config::diagnostics& problems) {
  std::set<const bound_node*> checked_nodes;
  for (const auto& [n, unit] : instances) {
    if (!checked_nodes.insert(n).second) continue;
    if (const auto checked = unit->check(); !checked.ok()) report(*n, checked.why(), unit->details(), problems);
  }
}

}  // namespace pl::engine
