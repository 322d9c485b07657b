// SPDX-License-Identifier: Apache-2.0
#include "engine/reload_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace pl::engine {

namespace {

bool same_text(const config::value& a, const config::value& b) {
  return a.type == b.type && a.key == b.key && a.text == b.text &&
         std::equal(a.children.begin(), a.children.end(), b.children.begin(), b.children.end(), same_text);
}

bool same_inputs(const std::vector<config::input>& a, const std::vector<config::input>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return x.node == y.node && x.port == y.port; });
}

// Return the keys of the options that are written differently; never their values, which may be secrets.
std::string option_reason(const config::value& running, const config::value& wanted) {
  std::vector<std::string> keys;
  for (const auto& option : wanted.children)
    if (const auto* old = running.find(option.key); old == nullptr || !same_text(*old, option))
      keys.push_back(option.key);
  for (const auto& option : running.children)
    if (wanted.find(option.key) == nullptr) keys.push_back(option.key);
  return keys.empty() ? "options" : fmt::format("options: {}", fmt::join(keys, ", "));
}

// Return why a node of the same name must be replaced; empty: it is kept.
std::string replace_reason(const bound_node& running, const bound_node& wanted) {
  const auto &a = running.settings, &b = wanted.settings;
  std::vector<std::string> why;
  const auto add_if = [&](bool changed, std::string what) {
    if (changed) why.push_back(std::move(what));
  };
  add_if(a.role != b.role, fmt::format("it was a {}", config::to_string(a.role)));
  add_if(a.plugin != b.plugin, fmt::format("plugin: {} to {}", a.plugin, b.plugin));
  add_if(a.plugin == b.plugin && running.component != wanted.component, "the plugin was loaded again");
  add_if(!same_inputs(a.from, b.from), "from");
  add_if(a.lanes != b.lanes, "lanes");
  add_if(a.writers != b.writers, "writers");
  add_if(a.batch != b.batch, "batch");
  add_if(a.retry != b.retry, "retry");
  add_if(a.queue != b.queue, "queue");
  add_if(a.delivery != b.delivery, "delivery");
  if (why.empty() && !config::equal_settings(a, b)) why.emplace_back("settings");
  if (running.component == wanted.component && !equal(*running.options, *wanted.options))
    why.push_back(option_reason(a.options, b.options));
  if (const auto files = wanted.options->changed_files(*running.options); !files.empty())
    why.push_back(fmt::format("files: {}", fmt::join(files, ", ")));
  return fmt::format("{}", fmt::join(why, "; "));
}

// Return whether all nodes above a sink are kept.
bool keeps_all_above(const reload_plan& plan, const bound_pipeline& wanted, const bound_node& sink) {
  return std::ranges::all_of(sink.settings.from, [&](const config::input& in) {
    const auto* above = wanted.find(in.node);
    return above != nullptr && plan.keeps(in.node) && keeps_all_above(plan, wanted, *above);
  });
}

void find_takers(reload_plan& plan, const bound_pipeline& running, const bound_pipeline& wanted) {
  for (auto& n : plan.nodes) {
    const auto *old = running.find(n.node), *fresh = wanted.find(n.node);
    if (n.action != reload_action::replace || n.role != config::role::sink) continue;
    n.takes_queue = old->settings.role == config::role::sink && same_inputs(old->settings.from, fresh->settings.from) &&
                    running.exactly_once(*old) == wanted.exactly_once(*fresh) && keeps_all_above(plan, wanted, *fresh);
  }
}

}  // namespace

std::string_view to_string(reload_action action) {
  switch (action) {
    case reload_action::keep:
      return "keep";
    case reload_action::replace:
      return "replace";
    case reload_action::add:
      return "add";
    case reload_action::remove:
      break;
  }
  return "remove";
}

bool reload_plan::changes_nothing() const {
  return settings.empty() && std::ranges::all_of(nodes, [](const auto& n) { return n.action == reload_action::keep; });
}

bool reload_plan::keeps(std::string_view node) const {
  return std::ranges::any_of(nodes, [&](const auto& n) { return n.node == node && n.action == reload_action::keep; });
}

bool reload_plan::takes_queue(std::string_view sink) const {
  return std::ranges::any_of(nodes, [&](const auto& n) { return n.node == sink && n.takes_queue; });
}

std::vector<std::string> reload_plan::kept() const {
  std::vector<std::string> names;
  for (const auto& n : nodes)
    if (n.action == reload_action::keep) names.push_back(n.node);
  return names;
}

std::vector<std::string> reload_plan::lines() const {
  std::vector<std::string> all;
  for (const auto& n : nodes)
    if (n.action != reload_action::keep)
      all.push_back(fmt::format("{} {}: {}{}", config::to_string(n.role), n.node, to_string(n.action),
                                n.reason.empty() ? "" : " (" + n.reason + ")"));
  for (const auto& s : settings) all.push_back(fmt::format("{}: changed", s));
  return all;
}

reload_plan plan_reload(const bound_pipeline& running, const bound_pipeline& wanted) {
  reload_plan plan;
  const auto &a = running.settings, &b = wanted.settings;
  // Every instance is created with these settings.
  std::string for_all;
  if (a.state_dir != b.state_dir) for_all = "state_dir";
  if (a.delivery != b.delivery) for_all += for_all.empty() ? "delivery" : "; delivery";
  for (const auto* list : {&wanted.sources, &wanted.transforms, &wanted.sinks})
    for (const auto& n : *list) {
      const auto* old = running.find(n.settings.name);
      node_change change{n.settings.name, n.settings.role, reload_action::add, {}};
      if (old != nullptr) {
        change.reason = replace_reason(*old, n);
        if (change.reason.empty()) change.reason = for_all;
        change.action = change.reason.empty() ? reload_action::keep : reload_action::replace;
      }
      plan.nodes.push_back(std::move(change));
    }
  for (const auto* list : {&running.sources, &running.transforms, &running.sinks})
    for (const auto& n : *list)
      if (wanted.find(n.settings.name) == nullptr)
        plan.nodes.push_back({n.settings.name, n.settings.role, reload_action::remove, {}});
  find_takers(plan, running, wanted);
  if (a.memory_limit != b.memory_limit) plan.settings.emplace_back("memory_limit");
  if (a.slow_call != b.slow_call) plan.settings.emplace_back("slow_call");
  if (a.shutdown_timeout != b.shutdown_timeout) plan.settings.emplace_back("shutdown_timeout");
  return plan;
}

}  // namespace pl::engine
