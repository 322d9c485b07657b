// SPDX-License-Identifier: Apache-2.0
// Reduces a pipeline's configuration to the branches that a side run needs.
#include "host/side_run.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace pl::host {

namespace {

using names = std::set<std::string>;

// Return the node and all nodes that read its records, also through others.
names with_readers(const config::pipeline& p, const std::string& node) {
  names reached{node};
  const auto reads = [&](const config::node& n) {
    return std::ranges::any_of(n.from, [&](const auto& in) { return reached.contains(in.node); });
  };
  for (const auto* t : p.transforms_in_order())
    if (reads(*t)) reached.insert(t->name);
  for (const auto& s : p.sinks)
    if (reads(s)) reached.insert(s.name);
  return reached;
}

// Return all nodes whose records the node reads, also through others, without the node.
names writers_of(const config::pipeline& p, const std::string& node) {
  names found;
  const auto add_inputs = [&](const config::node& n) {
    for (const auto& in : n.from) found.insert(in.node);
  };
  if (const auto* n = p.find(node)) add_inputs(*n);
  auto order = p.transforms_in_order();
  std::ranges::reverse(order);
  for (const auto* t : order)
    if (found.contains(t->name)) add_inputs(*t);
  return found;
}

// Drop each input for which keep(node, input) is false, and then each node without inputs.
template <class Keep>
void keep_inputs(config::pipeline& p, Keep&& keep) {
  for (auto* nodes : {&p.transforms, &p.sinks}) {
    for (auto& n : *nodes) std::erase_if(n.from, [&](const auto& in) { return !keep(n.name, in.node); });
    std::erase_if(*nodes, [](const auto& n) { return n.from.empty(); });
  }
}

}  // namespace

void keep_below(config::pipeline& p, const std::string& source) {
  std::erase_if(p.sources, [&](const auto& s) { return s.name != source; });
  const auto reached = with_readers(p, source);
  keep_inputs(p, [&](const auto&, const auto& input) { return reached.contains(input); });
}

void keep_above_sinks(config::pipeline& p) {
  names needed;
  for (const auto& s : p.sinks) {
    const auto above = writers_of(p, s.name);
    needed.insert(above.begin(), above.end());
  }
  std::erase_if(p.transforms, [&](const auto& t) { return !needed.contains(t.name); });
}

void keep_through(config::pipeline& p, const std::string& node) {
  const auto above = writers_of(p, node), below = with_readers(p, node);
  keep_inputs(p, [&](const auto& reader, const auto& input) {
    return above.contains(input) ? above.contains(reader) || reader == node
                                 : below.contains(input) && below.contains(reader);
  });
}

void enter_at(config::pipeline& p, const std::string& node, config::node source) {
  const auto below = with_readers(p, node);
  for (auto* nodes : {&p.transforms, &p.sinks})
    for (auto& n : *nodes)
      if (n.name == node) n.from = {{source.name, {}, n.where}};
  keep_inputs(p, [&](const auto& reader, const auto& input) { return reader == node || below.contains(input); });
  p.sources = {std::move(source)};
}

bool leads_to(const config::pipeline& p, const std::string& from, const std::string& to) {
  return from != to && with_readers(p, from).contains(to);
}

}  // namespace pl::host
