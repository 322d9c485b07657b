// SPDX-License-Identifier: Apache-2.0
#include "wording.hpp"

#include <pipeline/text.hpp>

#include <algorithm>

namespace json {

namespace {

constexpr std::size_t longest = 60;

std::string shortened(std::string_view text) {
  return text.size() <= longest
             ? std::string(text)
             : std::string(text.substr(0, longest)) + "... (" + std::to_string(text.size()) + " characters)";
}

}  // namespace

std::string in_quotes(std::string_view bytes) {
  std::string out = "\"";
  std::size_t at = 0;
  while (at < bytes.size() && at < longest) {
    const auto length = pl::utf8_sequence(bytes, at);
    const auto lead = static_cast<unsigned char>(bytes[at]);
    if (length == 0 || lead < 0x20 || lead == 0x7F) {
      pl::append_byte_escape(out, bytes[at++], pl::hex_case::upper);
      continue;
    }
    if (lead == '"' || lead == '\\') out.push_back('\\');
    out += bytes.substr(at, length);
    at += length;
  }
  out.push_back('"');
  if (at < bytes.size()) out += "... (" + std::to_string(bytes.size()) + " bytes)";
  return out;
}

std::string shown_key(std::string_view raw_key) {
  if (raw_key.size() <= longest) return std::string(raw_key);
  std::size_t end = 0;
  while (end < longest) {  // do not split a character or an escape
    const std::size_t escape = raw_key[end + 1] == 'u' ? 6 : 2;
    end += raw_key[end] == '\\' ? escape : std::max<std::size_t>(1, pl::utf8_sequence(raw_key, end));
  }
  return std::string(raw_key.substr(0, end)) + "...\"";
}

std::string described(const json_value& value) {
  switch (value.kind) {
    case json_kind::null:
      return "null";
    case json_kind::boolean:
      return std::string(value.raw);
    case json_kind::number:
      return "the number " + shortened(value.raw);
    case json_kind::object:
      return "an object";
    case json_kind::array:
      return "an array";
    case json_kind::string:
      break;
  }
  // Keep the original escapes, so that the reader can search the payload for the text.
  const auto inside = value.raw.substr(1, value.raw.size() - 2);
  return "the string " + (value.escaped && inside.size() <= longest ? std::string(value.raw) : in_quotes(inside));
}

}  // namespace json
