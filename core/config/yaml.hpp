// SPDX-License-Identifier: Apache-2.0
// YAML text to located values. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/value.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace pl::config {

/// The documents in source->text() from `begin` on; what can't be parsed is reported and left out. Empty documents are
/// left out silently. Bounded by max_nodes and max_depth (load.hpp).
[[nodiscard]] std::vector<value> parse_yaml(const std::shared_ptr<source_text>& source, std::size_t begin,
                                            diagnostics& problems);

}  // namespace pl::config
