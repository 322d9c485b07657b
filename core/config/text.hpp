// SPDX-License-Identifier: Apache-2.0
// Small helpers for UTF-8 text. Internal to core/config.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pl::config {

[[nodiscard]] std::string to_lower(std::string_view text);  // ASCII letters only
[[nodiscard]] std::string_view trim(std::string_view text);

[[nodiscard]] inline bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// Bytes of the UTF-8 sequence at the front: 1 to 4; 0 if it is invalid or the text is empty.
[[nodiscard]] std::size_t sequence_length(std::string_view text);

/// Offset of the first byte that isn't UTF-8, or npos.
[[nodiscard]] std::size_t find_invalid_utf8(std::string_view text);

[[nodiscard]] std::size_t count_characters(std::string_view text);

/// The next character as a terminal may show it: control characters and broken bytes are escaped (a file must not be
/// able to send escape sequences), tabs are one space.
struct glyph {
  std::size_t bytes;
  std::string shown;
  std::size_t columns;
};
[[nodiscard]] glyph next_glyph(std::string_view text);

}  // namespace pl::config
