// SPDX-License-Identifier: Apache-2.0
// A pipeline's configuration bound to its components: checked options with their defaults. Binding also checks that the
// components can keep `delivery`; it creates no instances. The host's main thread makes the object, which is immutable
// afterwards, so any thread may read it.
#pragma once

#include "config/bind.hpp"
#include "config/pipeline.hpp"
#include "loader/registry.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

struct bound_node {
  config::node settings;
  const pl_component* component = nullptr;
  std::shared_ptr<const config::bound_options> options;

  [[nodiscard]] bool has(std::uint32_t capability) const noexcept { return (component->caps & capability) != 0; }
};

struct bound_pipeline {
  config::pipeline settings;
  std::vector<bound_node> sources, transforms,
      sinks;                         // transforms in graph order; the dead-letter sink is the last
  std::string default_dead_letters;  // YAML of the dead-letter sink, if the configuration names none

  [[nodiscard]] const bound_node* find(std::string_view name) const;
  [[nodiscard]] bool exactly_once(const bound_node& sink) const;
};

// Report every problem with its place. If there are errors, the result must not be used.
[[nodiscard]] bound_pipeline bind(const config::pipeline& settings, loader::registry& plugins,
                                  config::diagnostics& problems);

// Report why a call into a node's component failed, at the options that the component named, or at the node.
// details: see instance::details. hint: shown after each message.
void report(const bound_node& node, const failure& failed, std::span<const failure> details,
            config::diagnostics& problems, const std::string& hint = {});

}  // namespace pl::engine
