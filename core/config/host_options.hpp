// SPDX-License-Identifier: Apache-2.0
// The host's own options, declared like a plugin's options. Internal to core/config.
#pragma once

#include "config/pipeline.hpp"

#include <pipeline/abi.h>

#include <span>
#include <string_view>
#include <vector>

namespace pl::config {

/// Top level: plain settings.
[[nodiscard]] std::span<const pl_option> pipeline_options();
/// Top level: sources, transforms, sinks, dead_letters. Their fields are those of node_options().
[[nodiscard]] std::span<const pl_option> structure_options();
/// The host's options of every node of that role. All other options of a node belong to its plugin.
[[nodiscard]] std::span<const pl_option> node_options(role r);
[[nodiscard]] std::span<const pl_option> dead_letter_options();

[[nodiscard]] std::vector<std::string_view> keys_of(std::span<const pl_option> table);

}  // namespace pl::config
