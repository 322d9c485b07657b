// SPDX-License-Identifier: Apache-2.0
// Convert a document to a pipeline, and check the pipeline as a graph. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"
#include "config/value.hpp"

namespace pl::config {

/// Build the pipeline of the document. An invalid setting is reported and keeps its default. Also check the graph for
/// dangling inputs, cycles, unused nodes, and a missing source or sink.
[[nodiscard]] pipeline build_pipeline(const value& document, diagnostics& problems);

}  // namespace pl::config
