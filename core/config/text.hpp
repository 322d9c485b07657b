// SPDX-License-Identifier: Apache-2.0
// Escaping of text for a terminal. Internal to core/config.
#pragma once

#include <pipeline/text.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace pl::config {

/// The next character, safe for a terminal: a tab becomes one space; control characters and invalid bytes are escaped,
/// so that a file cannot send escape sequences.
struct glyph {
  std::size_t bytes;
  std::string shown;
  std::size_t columns;
};
[[nodiscard]] glyph next_glyph(std::string_view text);

}  // namespace pl::config
