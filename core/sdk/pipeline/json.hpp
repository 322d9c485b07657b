// SPDX-License-Identifier: Apache-2.0
// Cells and rows as JSON text (RFC 8259), the same in every sink that writes JSON.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/time.hpp>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace pl {

// Length of the UTF-8 sequence that starts at s[at], or 0 where it isn't valid (RFC 3629: no overlong forms, no surrogates,
// at most U+10FFFF).
[[nodiscard]] inline std::size_t utf8_sequence(std::string_view s, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const auto lead = byte(at);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(at + 1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    return follows(at + 1, low, high) && follows(at + 2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return follows(at + 1, low, high) && follows(at + 2) && follows(at + 3) ? 4 : 0;
  }
  return 0;
}

// Most texts are ASCII, eight bytes of which are looked at at once.
[[nodiscard]] inline bool is_utf8(std::string_view s) noexcept {
  constexpr std::uint64_t not_ascii = 0x8080808080808080;
  for (std::size_t i = 0; i < s.size();) {
    if (std::uint64_t eight = not_ascii; i + sizeof eight <= s.size()) {
      std::memcpy(&eight, s.data() + i, sizeof eight);
      if ((eight & not_ascii) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const auto n = utf8_sequence(s, i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

[[nodiscard]] inline std::string base64(std::string_view bytes) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U;
    };
    const auto group = byte(0) << 16 | byte(1) << 8 | byte(2);
    out.push_back(digits[group >> 18 & 63]);
    out.push_back(digits[group >> 12 & 63]);
    out.push_back(i + 1 < bytes.size() ? digits[group >> 6 & 63] : '=');
    out.push_back(i + 2 < bytes.size() ? digits[group & 63] : '=');
  }
  return out;
}

inline void append_json_escape(std::string& out, char c) {
  static constexpr std::string_view hex = "0123456789abcdef";
  const auto u = static_cast<unsigned char>(c);
  if (c == '"' || c == '\\') {
    out.push_back('\\');
    out.push_back(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else {
    out += "\\u00";
    out.push_back(hex[u >> 4]);
    out.push_back(hex[u & 15]);
  }
}

// A JSON string of valid UTF-8, quoted and escaped.
inline void append_json_string(std::string& out, std::string_view utf8) {
  out.push_back('"');
  std::size_t plain = 0;  // what needs no escape goes out in one piece
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    const auto u = static_cast<unsigned char>(utf8[i]);
    if (u >= 0x20 && u != '"' && u != '\\') continue;
    out.append(utf8, plain, i - plain);
    append_json_escape(out, utf8[i]);
    plain = i + 1;
  }
  out.append(utf8, plain);
  out.push_back('"');
}

// JSON in one line: line breaks of its own are white space between values, since texts can't hold them unescaped.
inline void append_json_line(std::string& out, std::string_view json) {
  const auto begin = out.size();
  out += json;
  for (const char line_break : {'\r', '\n'})
    for (auto at = out.find(line_break, begin); at != std::string::npos; at = out.find(line_break, at + 1))
      out[at] = ' ';
}

// One cell, in one line. Times are RFC 3339 strings; bytes are a string if they are valid UTF-8, else {"base64": "..."}; reals are the
// shortest text that reads back as the same double.
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
      number(c.as.f);
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

// One row as an object; columns that are null are left out.
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
