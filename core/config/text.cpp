// SPDX-License-Identifier: Apache-2.0
#include "config/text.hpp"

#include <utility>

namespace pl::config {

namespace {

bool is_wide(char32_t code) {
  return (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
         (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
         (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
         (code >= 0x1F300 && code <= 0x1FAFF) || (code >= 0x20000 && code <= 0x3FFFD);
}

}  // namespace

glyph next_glyph(std::string_view text) {
  if (text.front() == '\t') return {1, " ", 1};
  const auto length = utf8_sequence(text, 0);
  std::string shown;
  if (length == 0) {
    append_byte_escape(shown, text.front());
    return {1, std::move(shown), 4};
  }
  const auto code = code_point(text.substr(0, length));
  if (is_unsafe_for_terminal(code)) {
    if (code < 0x80)
      append_byte_escape(shown, text.front());
    else
      append_code_point_escape(shown, code);
    const auto columns = shown.size();
    return {length, std::move(shown), columns};
  }
  return {length, std::string(text.substr(0, length)), is_wide(code) ? 2U : 1U};
}

}  // namespace pl::config
