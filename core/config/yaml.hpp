// SPDX-License-Identifier: Apache-2.0
// Parse YAML text into values with positions. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/value.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace pl::config {

/// Return the documents in source->text() from `begin` on. A document that cannot be parsed is reported and left out;
/// an empty document is left out without a message. Bounded by max_nodes and max_depth (load.hpp).
[[nodiscard]] std::vector<value> parse_yaml(const std::shared_ptr<source_text>& source, std::size_t begin,
                                            diagnostics& problems);

}  // namespace pl::config
