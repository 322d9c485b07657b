// SPDX-License-Identifier: Apache-2.0
// Interpolation of ${NAME}, ${NAME:-default}, ${NAME:?message}, ${file:/path} and $$. Internal to core/config.
#pragma once

#include "config/diagnostics.hpp"
#include "config/load.hpp"
#include "config/value.hpp"

namespace pl::config {

/// Replace references in all scalars below `root` (not in keys). The result is text and is not parsed as YAML again.
void interpolate(value& root, const environment& env, diagnostics& problems);

/// Read the files of ${file:/path} below an interpolated `root` again. Return whether a text changed. What cannot be read
/// stays as it is.
bool read_files_again(value& root, const environment& env);

}  // namespace pl::config
