// SPDX-License-Identifier: Apache-2.0
#include "engine/bound_pipeline.hpp"

#include "config/load.hpp"
#include "engine/dead_letter_writer.hpp"
#include "engine/instance.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

namespace {

// Return the default dead-letter sink, as YAML, of the first component (by name) that declares one. Return an empty
// text if no component declares one.
std::string declared_dead_letters(loader::registry& plugins) {
  for (const auto& [name, loaded] : plugins.all())
    if (const auto declared = complete(*loaded.component).dead_letters; declared.n != 0)
      return std::string(view(declared));
  return {};
}

// Parse the node of a dead-letter sink. Wrap its YAML in a complete pipeline, because config loads nothing smaller.
std::optional<config::node> dead_letter_node(const std::string& yaml, config::diagnostics& problems) {
  const std::vector<config::file_arg> document{{"the default dead_letters",
                                                "name: defaults\nsources: {in: {plugin: none}}\n"
                                                "sinks: {out: {plugin: none, from: in}}\ndead_letters: " +
                                                    yaml + "\n"}};
  const auto loaded = config::load(document, {}, config::process_environment());
  if (loaded.ok()) return loaded.pipelines.front().dead_letters;
  for (const auto& d : loaded.problems.sorted()) problems.error(d.where, d.message, d.hint);
  return std::nullopt;
}

std::vector<const pl_component*> components_of(const std::vector<const config::node*>& nodes,
                                               loader::registry& plugins) {
  std::vector<const pl_component*> components;
  const auto missing = [&](const config::node* n) { return config::find_component(components, n->plugin) == nullptr; };
  for (const auto* n : nodes)
    if (const auto* found = plugins.find(n->plugin); found != nullptr && missing(n))
      components.push_back(found->component);
  // Load all components only to suggest a name.
  if (std::any_of(nodes.begin(), nodes.end(), missing))
    for (const auto& [name, c] : plugins.all())
      if (config::find_component(components, name) == nullptr) components.push_back(c.component);
  return components;
}

// -------------------------------------------------------------------------------------------------------- delivery ---

constexpr std::string_view at_least_once_hint = "set 'delivery: at_least_once' on the sink";

void check_upstream(const bound_pipeline& p, const bound_node& sink, config::diagnostics& problems) {
  std::vector<const bound_node*> above{&sink};
  for (std::size_t i = 0; i < above.size(); ++i)
    for (const auto& in : above[i]->settings.from)
      if (const auto* n = p.find(in.node); n != nullptr && std::ranges::count(above, n) == 0) above.push_back(n);
  for (const auto* n : above) {
    const auto& s = n->settings;
    if (s.role == config::role::source && !n->has(PL_REPLAYABLE))
      problems.error(s.where,
                     fmt::format("'{}' cannot deliver exactly once: its source {} cannot be read again from a position",
                                 sink.settings.name, s.plugin),
                     std::string(at_least_once_hint));
    if (s.role == config::role::transform && !n->has(PL_DETERMINISTIC))
      problems.error(s.where,
                     fmt::format("'{}' cannot deliver exactly once: {} may produce different output when it reads the "
                                 "same records again",
                                 sink.settings.name, s.plugin),
                     std::string(at_least_once_hint));
  }
}

void check_delivery(const bound_pipeline& p, config::diagnostics& problems) {
  bool any = false;
  for (const auto& n : p.sinks) {
    if (!p.exactly_once(n)) continue;
    any = true;
    if (!n.has(PL_TRANSACTIONAL))
      problems.error(n.settings.where,
                     fmt::format("'{}' cannot deliver exactly once: {} keeps no positions in its transactions",
                                 n.settings.name, n.settings.plugin),
                     "set 'delivery: at_least_once' on this sink if it may store records twice after a crash");
    check_upstream(p, n, problems);
  }
  if (!any && p.settings.delivery == config::delivery::exactly_once)
    problems.error(p.settings.where, "delivery: exactly_once, but every sink is at_least_once",
                   "remove 'delivery' from the sink that must deliver exactly once, or from the pipeline");
}

}  // namespace

const bound_node* bound_pipeline::find(std::string_view name) const {
  for (const auto* list : {&sources, &transforms, &sinks})
    for (const auto& n : *list)
      if (n.settings.name == name) return &n;
  return nullptr;
}

bool bound_pipeline::exactly_once(const bound_node& sink) const {
  return sink.settings.name != dead_letters_node &&
         sink.settings.delivery.value_or(settings.delivery) == config::delivery::exactly_once;
}

bound_pipeline bind(const config::pipeline& settings, loader::registry& plugins, config::diagnostics& problems) {
  bound_pipeline p;
  p.settings = settings;
  const auto before = problems.errors();
  auto nodes = p.settings.nodes();
  auto dead_letters = p.settings.dead_letters;
  if (!dead_letters) {
    p.default_dead_letters = declared_dead_letters(plugins);
    if (!p.default_dead_letters.empty()) dead_letters = dead_letter_node(p.default_dead_letters, problems);
    if (dead_letters) nodes.push_back(&*dead_letters);
    if (p.default_dead_letters.empty())
      problems.error(settings.where, "no dead_letters sink is configured, and no installed plugin offers one",
                     "add dead_letters: {plugin: ...}");
  }
  const auto components = components_of(nodes, plugins);
  config::check_components(p.settings, components, problems);
  const auto bind_one = [&](const config::node& n) {
    bound_node bound{n, config::find_component(components, n.plugin), nullptr};
    if (bound.component != nullptr)
      bound.options = std::make_shared<const config::bound_options>(config::bind(n, *bound.component, problems));
    return bound;
  };
  for (const auto& n : p.settings.sources) p.sources.push_back(bind_one(n));
  for (const auto* n : p.settings.transforms_in_order()) p.transforms.push_back(bind_one(*n));
  for (const auto& n : p.settings.sinks) p.sinks.push_back(bind_one(n));
  if (dead_letters) p.sinks.push_back(bind_one(*dead_letters));
  if (problems.errors() == before) check_delivery(p, problems);
  return p;
}

void report(const bound_node& node, const failure& failed, std::span<const failure> details,
            config::diagnostics& problems, const std::string& hint) {
  if (details.empty()) details = {&failed, 1};
  for (const auto& d : details) {
    if (!d.option.empty() && node.options->broken(d.option)) continue;
    problems.error(d.option.empty() ? node.settings.where : node.options->position_of(d.option), d.message, hint);
  }
}

}  // namespace pl::engine
