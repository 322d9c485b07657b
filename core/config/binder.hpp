// SPDX-License-Identifier: Apache-2.0
// Check values against a pl_option table and convert them to cells, for plugins' options and for the host's own.
// Called on the thread that loads a configuration. Internal to core/config.
#pragma once

#include "config/bind.hpp"
#include "config/diagnostics.hpp"
#include "config/value.hpp"

#include <pipeline/abi.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace pl::config {

struct bind_context {
  std::string owner;                                  ///< "timescale_sink", "the sink 'store'"
  location where;                                     ///< position of messages about missing options
  std::span<const std::string_view> other_keys = {};  ///< also suggested for unknown keys
  /// Returns a hint for an unknown key that replaces the nearest name; may return an empty text.
  std::function<std::string(std::string_view key)> explain = {};
};

[[nodiscard]] bound_options bind_table(const value& map, std::span<const pl_option> table, const bind_context& context,
                                       diagnostics& problems);

}  // namespace pl::config
