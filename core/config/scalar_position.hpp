// SPDX-License-Identifier: Apache-2.0
// Positions inside a YAML scalar: from the text that a plugin receives back to the text as it is written in the file.
#pragma once

#include "config/diagnostics.hpp"

#include <cstddef>

namespace pl::config {

/// Return the place of byte `offset` of a scalar's text. Handles plain, quoted and block scalars. If the text contains
/// variables (${NAME}), return the position of the scalar.
[[nodiscard]] location position_in_scalar(const location& scalar, std::size_t offset);

}  // namespace pl::config
