// SPDX-License-Identifier: Apache-2.0
// ${NAME}, ${NAME:-default}, ${NAME:?message}, ${file:/path}, $$. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/load.hpp"
#include "config/value.hpp"

namespace pl::config {

/// Replaces references in all scalars below `root` (not in keys). The result is text, never YAML again.
void interpolate(value& root, const environment& env, diagnostics& problems);

}  // namespace pl::config
