// SPDX-License-Identifier: Apache-2.0
// Values against a pl_option table: for the plugins' options and for the host's own. Internal to core/config.
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

[[nodiscard]] inline std::string_view view(pl_str s) {
  return s.n == 0 ? std::string_view() : std::string_view(s.p, s.n);
}

struct bind_context {
  std::string owner;                                  ///< "timescale_sink", "the sink 'store'"
  location where;                                     ///< for what is missing
  std::span<const std::string_view> other_keys = {};  ///< are suggested, too
  /// The hint for an unknown key, where the owner knows better than the nearest name; may answer with nothing.
  std::function<std::string(std::string_view key)> explain = {};
};

[[nodiscard]] bound_options bind_table(const value& map, std::span<const pl_option> table, const bind_context& context,
                                       diagnostics& problems);

/// The words of `allowed`.
[[nodiscard]] std::vector<std::string_view> split_choices(std::string_view allowed);

/// How the kind is called in messages and in references.
[[nodiscard]] std::string kind_name(const pl_option& option);

/// An option of that element kind, to check the elements of a list or map with.
[[nodiscard]] pl_option element_of(const pl_option& option);

}  // namespace pl::config
