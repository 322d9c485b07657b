// SPDX-License-Identifier: Apache-2.0
//
// Making text from anywhere (records, plugins, servers) safe to show. Pure functions, internal to telemetry.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pl::telemetry {

// One character: a well-formed UTF-8 sequence of `bytes` bytes, or one byte that is none.
struct utf8_char {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};
utf8_char first_char(std::string_view text) noexcept;  // text isn't empty

void append_json_string(std::string& out, std::string_view text);  // with its quotes; what isn't UTF-8: U+FFFD
void append_printable(std::string& out, std::string_view text);    // a line break stays one, other controls: \x1b
std::string valid_utf8(std::string_view text);
std::string_view cut_bytes(std::string_view text, std::size_t max) noexcept;  // at most, and no half character
std::string cut_columns(std::string_view text, std::size_t columns);          // with "…" at the end where cut
std::size_t count_chars(std::string_view text) noexcept;

}  // namespace pl::telemetry
