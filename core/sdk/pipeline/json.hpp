// SPDX-License-Identifier: Apache-2.0
// Cells and rows as JSON text (RFC 8259), the same in every sink that writes JSON.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace pl {

// Append a JSON document as one line. Its line breaks become spaces: JSON strings cannot contain unescaped line breaks.
inline void append_json_line(std::string& out, std::string_view json) {
  const auto begin = out.size();
  out += json;
  for (const char line_break : {'\r', '\n'})
    for (auto at = out.find(line_break, begin); at != std::string::npos; at = out.find(line_break, at + 1))
      out[at] = ' ';
}

// Append one cell as one line. Times become RFC 3339 strings, bytes a string if they are valid UTF-8 and otherwise
// {"base64": "..."}, and reals the shortest text that parses to the same double; JSON has no infinity and no NaN, which
// become null.
inline void append_json(std::string& out, const cell& c) {
  std::array<char, 32> text;
  const auto number = [&](auto v) {
    const auto end = std::to_chars(text.data(), text.data() + text.size(), v).ptr;
    out.append(text.data(), end);
  };
  switch (c.kind) {
    case PL_BOOL:
      out += c.as.i != 0 ? "true" : "false";
      break;
    case PL_I64:
      number(c.as.i);
      break;
    case PL_F64:
      if (std::isfinite(c.as.f))
        number(c.as.f);
      else
        out += "null";
      break;
    case PL_TIME_NS:
      out.push_back('"');
      append_rfc3339(out, c.as.i);
      out.push_back('"');
      break;
    case PL_TEXT:
      append_json_string(out, bytes_of(c));
      break;
    case PL_JSON:
      append_json_line(out, bytes_of(c));
      break;
    case PL_BYTES:
      if (is_utf8(bytes_of(c)))
        append_json_string(out, bytes_of(c));
      else
        out += "{\"base64\":\"" + base64(bytes_of(c)) + "\"}";
      break;
    default:
      out += "null";
  }
}

// Append one row as an object, without the columns that are null.
inline void append_json_row(std::string& out, batch_view b, row_index row) {
  out.push_back('{');
  bool first = true;
  for (column_index c = 0; c < b.columns(); ++c) {
    if (is_null(b.at(c, row))) continue;
    if (!first) out.push_back(',');
    first = false;
    append_json_string(out, b.name(c));
    out.push_back(':');
    append_json(out, b.at(c, row));
  }
  out.push_back('}');
}

}  // namespace pl
