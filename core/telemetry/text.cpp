// SPDX-License-Identifier: Apache-2.0
#include "telemetry/text.hpp"

#include <fmt/format.h>

#include <iterator>

namespace pl::telemetry {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

struct sequence_form {
  std::size_t bytes;
  char32_t payload, smallest;
};

sequence_form form_of(unsigned char lead) noexcept {
  if (lead < 0x80) return {1, lead, 0};
  if ((lead & 0xE0) == 0xC0) return {2, lead & 0x1Fu, 0x80};
  if ((lead & 0xF0) == 0xE0) return {3, lead & 0x0Fu, 0x800};
  if ((lead & 0xF8) == 0xF0) return {4, lead & 0x07u, 0x10000};
  return {0, 0, 0};
}

// Overlong forms, surrogates and what lies beyond Unicode have no encoding.
bool encodable(char32_t code, char32_t smallest) noexcept {
  return code >= smallest && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

void append_json_char(std::string& out, std::string_view bytes, const utf8_char& one) {
  switch (one.code) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (one.code < 0x20 || one.code == 0x7F) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(one.code));
  } else {
    out += bytes;
  }
}

// C1 controls steer some terminals too; bidirectional overrides make a line read as something else.
bool steers_terminal(char32_t code) noexcept {
  return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0) ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

template <class Append>
void for_each_char(std::string_view text, Append append) {
  while (!text.empty()) {
    const utf8_char one = first_char(text);
    append(one.valid ? text.substr(0, one.bytes) : replacement, one);
    text.remove_prefix(one.bytes);
  }
}

}  // namespace

utf8_char first_char(std::string_view text) noexcept {
  const auto form = form_of(static_cast<unsigned char>(text.front()));
  if (form.bytes == 0 || form.bytes > text.size()) return {};
  char32_t code = form.payload;
  for (std::size_t i = 1; i < form.bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0) != 0x80) return {};
    code = (code << 6) | (next & 0x3Fu);
  }
  if (!encodable(code, form.smallest)) return {};
  return {code, form.bytes, true};
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for_each_char(text, [&](std::string_view bytes, const utf8_char& one) {
    if (one.valid) {
      append_json_char(out, bytes, one);
    } else {
      out += bytes;
    }
  });
  out += '"';
}

void append_printable(std::string& out, std::string_view text) {
  for_each_char(text, [&](std::string_view bytes, const utf8_char& one) {
    if (!one.valid || !steers_terminal(one.code)) {
      out += bytes;
    } else if (one.code < 0x100) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned>(one.code));
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(one.code));
    }
  });
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_char(text, [&](std::string_view bytes, const utf8_char&) { out += bytes; });
  return out;
}

std::string_view cut_bytes(std::string_view text, std::size_t max) noexcept {
  if (text.size() <= max) return text;
  std::size_t end = max;
  for (int i = 0; i < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80; ++i) --end;
  return text.substr(0, end);
}

std::size_t count_chars(std::string_view text) noexcept {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(first_char(text).bytes);
  return count;
}

std::string cut_columns(std::string_view text, std::size_t columns) {
  if (count_chars(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::size_t end = 0;
  for (std::size_t i = 1; i < columns; ++i) end += first_char(text.substr(end)).bytes;
  return std::string(text.substr(0, end)) + "…";
}

}  // namespace pl::telemetry
