// SPDX-License-Identifier: Apache-2.0
// Checks what sinks do with rows that they cannot write: `on_failure` and `when_full`. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"

namespace pl::config {

/// Report settings that contradict the delivery guarantee of their sink, or that have no effect.
void check_sink_policies(const pipeline& p, diagnostics& problems);

}  // namespace pl::config
