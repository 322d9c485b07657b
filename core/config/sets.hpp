// SPDX-License-Identifier: Apache-2.0
// Parse and apply --set path.to.option=value. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/value.hpp"

#include <span>
#include <string>
#include <vector>

namespace pl::config {

/// Apply the options to the documents. An option that names a node changes the documents that have this node; any other
/// option changes all documents.
void apply_sets(std::vector<value>& documents, std::span<const std::string> sets, diagnostics& problems);

}  // namespace pl::config
