// SPDX-License-Identifier: Apache-2.0
// From a document to a pipeline, checked as a graph. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"
#include "config/value.hpp"

namespace pl::config {

/// Takes over what the document says; what is wrong is reported and has its default. Graph checks (dangling inputs,
/// cycles, unused nodes, no source or sink) included.
[[nodiscard]] pipeline build_pipeline(const value& document, diagnostics& problems);

}  // namespace pl::config
