// SPDX-License-Identifier: Apache-2.0
#include "telemetry/text.hpp"

namespace pl::telemetry {

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  each_character(text, [&](std::string_view bytes, bool valid) {
    const char c = bytes.front();
    if (!valid)
      out += replacement_character;
    else if (bytes.size() == 1 && (c == '"' || c == '\\' || is_control(static_cast<unsigned char>(c))))
      append_json_escape(out, c);
    else if (const auto code = code_point(bytes); code > 0x7F && is_unsafe_for_terminal(code))
      append_json_code_point(out, code);
    else
      out += bytes;
  });
  out += '"';
}

void append_printable(std::string& out, std::string_view text) {
  each_character(text, [&](std::string_view bytes, bool valid) {
    if (!valid) {
      out += replacement_character;
      return;
    }
    const char32_t code = code_point(bytes);
    if (is_control(code) && code != '\n' && code != '\t')
      append_byte_escape(out, static_cast<char>(code));
    else if (code > 0x7F && is_unsafe_for_terminal(code))
      append_code_point_escape(out, code);
    else
      out += bytes;
  });
}

std::string cut_columns(std::string_view text, std::size_t columns) {
  if (count_characters(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::string cut;
  std::size_t count = 0;
  each_character(text, [&](std::string_view bytes, bool /*valid*/) {
    if (++count < columns) cut += bytes;
  });
  return cut + "…";
}

}  // namespace pl::telemetry
