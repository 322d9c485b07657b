// SPDX-License-Identifier: Apache-2.0
#include "config/bind.hpp"

#include "config/binder.hpp"
#include "config/host_options.hpp"
#include "config/option_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

namespace pl::config {

namespace {

std::span<const pl_str> ports_of(const pl_component& component) {
  return {component.ports, component.ports == nullptr ? 0 : component.nports};
}

std::vector<std::string_view> port_names(const pl_component& component) {
  std::vector<std::string_view> names;
  for (const auto& port : ports_of(component)) names.push_back(view(port));
  if (names.empty()) names.emplace_back("out");
  return names;
}

bool is_dead_letters(const node& n) { return n.role == role::sink && n.name == "dead_letters" && n.from.empty(); }

std::span<const pl_option> host_options_of(const node& n) {
  return is_dead_letters(n) ? dead_letter_options() : node_options(n.role);
}

// "lanes" on a sink: right word, wrong place.
std::string belongs_elsewhere(std::string_view key, const node& n) {
  for (const auto other : {role::source, role::transform, role::sink}) {
    const auto keys = keys_of(node_options(other));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
    if (is_dead_letters(n)) return fmt::format("the dead letters have no '{}'", key);
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
    problems.error(n.plugin_where, fmt::format("no plugin has '{}'", printable(n.plugin)),
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
  if (component == nullptr || port_index(*component, in.port)) return;
  const auto names = port_names(*component);
  auto hint = did_you_mean(in.port, names);
  if (hint.empty()) hint = fmt::format("it has: {}", fmt::join(names, ", "));
  problems.error(in.where,
                 fmt::format("'{}' ({}) has no output '{}'", in.node, view(component->name), printable(in.port)), hint);
}

void faults_of_table(std::span<const pl_option> table, const std::string& path, std::vector<std::string>& faults) {
  std::vector<std::string_view> seen;
  for (const auto& option : table) {
    const auto key = view(option.key);
    const auto name = path.empty() ? std::string(key) : path + "." + std::string(key);
    if (key.empty()) faults.push_back(fmt::format("an option of '{}' has no key", path));
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      faults.push_back(fmt::format("'{}' is declared twice", name));
    seen.push_back(key);
    if (option.kind < PL_OPT_TEXT || option.kind > PL_OPT_ANY)
      faults.push_back(fmt::format("'{}' has no known kind", name));
    const bool container = option.kind == PL_OPT_LIST || option.kind == PL_OPT_MAP;
    const auto element = container ? option.element : option.kind;
    if (container &&
        (element < PL_OPT_TEXT || element > PL_OPT_ANY || element == PL_OPT_LIST || element == PL_OPT_MAP)) {
      faults.push_back(fmt::format("'{}' has no allowed kind of elements", name));
    }
    if (element == PL_OPT_CHOICE && option.allowed.n == 0) faults.push_back(fmt::format("'{}' allows no choice", name));
    if (element == PL_OPT_OBJECT) {
      if (option.nfields == 0) faults.push_back(fmt::format("'{}' has no fields", name));
      faults_of_table({option.fields, option.fields == nullptr ? 0 : option.nfields}, name, faults);
    }
    if (option.def.n != 0 && (option.flags & PL_REQUIRED) != 0) {
      faults.push_back(fmt::format("'{}' is required and has a default", name));
    }
  }
}

// Binds nothing at all to each level of the table, so that each default is parsed; required options are left out.
void faults_of_defaults(std::span<const pl_option> table, std::string_view owner, std::vector<std::string>& faults) {
  std::vector<pl_option> relaxed(table.begin(), table.end());
  for (auto& option : relaxed) option.flags &= ~static_cast<std::uint32_t>(PL_REQUIRED);
  diagnostics problems;
  value nothing;
  nothing.type = value::kind::map;
  (void)bind_table(nothing, relaxed, {std::string(owner), location()}, problems);
  for (const auto& d : problems.sorted()) faults.push_back(d.message);
  for (const auto& option : table) {
    if (option.fields != nullptr) faults_of_defaults({option.fields, option.nfields}, owner, faults);
  }
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

std::vector<bound_node> bind_all(const pipeline& p, std::span<const pl_component* const> components,
                                 diagnostics& problems) {
  check_components(p, components, problems);
  std::vector<bound_node> result;
  for (const auto* n : p.nodes()) {
    const auto* c = find_component(components, n->plugin);
    if (c == nullptr || c->role != static_cast<std::uint32_t>(n->role)) continue;
    result.push_back({n, c, bind(*n, *c, problems)});
  }
  return result;
}

const pl_component* find_component(std::span<const pl_component* const> components, std::string_view name) {
  const auto found =
      std::find_if(components.begin(), components.end(), [&](const auto* c) { return view(c->name) == name; });
  return found == components.end() ? nullptr : *found;
}

std::optional<std::uint32_t> port_index(const pl_component& component, std::string_view port) {
  if (port.empty()) return 0;
  const auto names = port_names(component);
  const auto found = std::find(names.begin(), names.end(), port);
  if (found == names.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - names.begin());
}

std::vector<std::string> faults_of(const pl_component& component) {
  std::vector<std::string> faults;
  const auto table = options_of(component);
  faults_of_table(table, {}, faults);
  const auto r = static_cast<role>(component.role);
  const auto reserved = keys_of(node_options(r));
  for (const auto& option : table) {
    if (std::find(reserved.begin(), reserved.end(), view(option.key)) != reserved.end()) {
      faults.push_back(
          fmt::format("'{}' is an option of the host: no {} can have its own", view(option.key), to_string(r)));
    }
  }
  if (faults.empty()) faults_of_defaults(table, view(component.name), faults);
  return faults;
}

}  // namespace pl::config
