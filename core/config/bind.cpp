// SPDX-License-Identifier: Apache-2.0
#include "config/bind.hpp"

#include "config/binder.hpp"
#include "config/host_options.hpp"
#include "config/option_table.hpp"

#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace pl::config {

namespace {

std::span<const pl_str> ports_of(const pl_component& component) {
  return {component.ports, component.ports == nullptr ? 0 : component.nports};
}

bool is_dead_letters(const node& n) { return n.role == role::sink && n.name == "dead_letters" && n.from.empty(); }

std::span<const pl_option> host_options_of(const node& n) {
  return is_dead_letters(n) ? dead_letter_options() : node_options(n.role);
}

// Return a hint for an option of another role, such as "lanes" on a sink.
std::string belongs_elsewhere(std::string_view key, const node& n) {
  for (const auto other : {role::source, role::transform, role::sink}) {
    const auto keys = keys_of(node_options(other));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
    if (is_dead_letters(n)) return fmt::format("dead_letters has no '{}'", key);
    return fmt::format("only {}s have '{}'", to_string(other), key);
  }
  return {};
}

std::string available(std::span<const pl_component* const> components, role r) {
  std::vector<std::string_view> names;
  for (const auto* c : components) {
    if (c->role == static_cast<std::uint32_t>(r)) names.push_back(view(c->name));
  }
  if (names.empty()) return fmt::format("no plugin with a {} is loaded", to_string(r));
  std::sort(names.begin(), names.end());
  return fmt::format("{}s are: {}", to_string(r), fmt::join(names, ", "));
}

std::string suggest_plugin(const node& n, std::span<const pl_component* const> components) {
  std::vector<std::string_view> same_role, all;
  for (const auto* c : components) {
    all.push_back(view(c->name));
    if (c->role == static_cast<std::uint32_t>(n.role)) same_role.push_back(view(c->name));
  }
  auto hint = did_you_mean(n.plugin, same_role);
  if (hint.empty()) hint = did_you_mean(n.plugin, all);
  return hint.empty() ? available(components, n.role) : hint;
}

void check_plugin(const node& n, std::span<const pl_component* const> components, diagnostics& problems) {
  if (n.plugin.empty()) return;
  const auto* component = find_component(components, n.plugin);
  if (component == nullptr) {
    problems.error(n.plugin_where, fmt::format("unknown plugin '{}'", printable(n.plugin)),
                   suggest_plugin(n, components));
  } else if (component->role != static_cast<std::uint32_t>(n.role)) {
    const auto actual = component->role >= PL_SOURCE && component->role <= PL_SINK
                            ? to_string(static_cast<role>(component->role))
                            : std::string_view("component of an unknown role");
    problems.error(n.plugin_where, fmt::format("'{}' is a {}, not a {}", n.plugin, actual, to_string(n.role)),
                   available(components, n.role));
  }
}

void check_port(const pipeline& p, const input& in, std::span<const pl_component* const> components,
                diagnostics& problems) {
  if (in.port.empty()) return;
  const auto* target = p.find(in.node);
  const auto* component = target == nullptr ? nullptr : find_component(components, target->plugin);
  if (component == nullptr || (component->caps & PL_OPTION_PORTS) != 0) return;
  if (const auto ports = port_names(*component); !port_index(ports, in.port))
    report_unknown_port(in, *target, ports, problems);
}

}  // namespace

bound_options bind(const node& n, const pl_component& component, diagnostics& problems) {
  const auto host_keys = keys_of(host_options_of(n));
  const bind_context context{std::string(view(component.name)), n.where, host_keys,
                             [&n](std::string_view key) { return belongs_elsewhere(key, n); }};
  return bind_table(n.options, options_of(component), context, problems);
}

void check_components(const pipeline& p, std::span<const pl_component* const> components, diagnostics& problems) {
  for (const auto* n : p.nodes()) {
    check_plugin(*n, components, problems);
    for (const auto& in : n->from) check_port(p, in, components, problems);
  }
}

const pl_component* find_component(std::span<const pl_component* const> components, std::string_view name) {
  const auto found =
      std::find_if(components.begin(), components.end(), [&](const auto* c) { return view(c->name) == name; });
  return found == components.end() ? nullptr : *found;
}

std::vector<std::string> port_names(const pl_component& component) {
  std::vector<std::string> names;
  for (const auto& port : ports_of(component)) names.emplace_back(view(port));
  if (names.empty()) names.emplace_back("out");
  return names;
}

std::optional<std::uint32_t> port_index(std::span<const std::string> ports, std::string_view port) {
  if (port.empty()) return 0;
  const auto found = std::find(ports.begin(), ports.end(), port);
  if (found == ports.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - ports.begin());
}

void report_unknown_port(const input& in, const node& of, std::span<const std::string> ports, diagnostics& problems) {
  auto hint = did_you_mean(in.port, ports);
  if (hint.empty()) hint = fmt::format("outputs are: {}", fmt::join(ports, ", "));
  problems.error(in.where, fmt::format("'{}' ({}) has no output '{}'", in.node, of.plugin, printable(in.port)), hint);
}

}  // namespace pl::config
