// SPDX-License-Identifier: Apache-2.0
#include "json_scanner.hpp"

#include "wording.hpp"

#include <pipeline/json.hpp>

#include <algorithm>

namespace json_telemetry {

namespace {

// Characters of a valid escape sequence, from the backslash on.
constexpr std::size_t short_escape = 2, unicode_escape = 6;

unsigned hex_value(std::string_view four) noexcept {
  unsigned v = 0;
  for (const char c : four) v = v * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  return v;
}

char* append_utf8(char* to, unsigned code) noexcept {
  const auto put = [&](unsigned byte) { *to++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
  return to;
}

char short_escape_value(char c) noexcept {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return c;  // quote, backslash, slash
  }
}

bool shorter_or_less(std::string_view a, std::string_view b) noexcept {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

// What a document that doesn't even begin as JSON seems to be; empty where there is no telling.
std::string_view foreign_format(std::string_view document) noexcept {
  using namespace std::string_view_literals;
  if (document.starts_with("\xEF\xBB\xBF")) return "it begins with a byte order mark (EF BB BF); send UTF-8 without it";
  if (document.starts_with("\xFE\xFF") || document.starts_with("\xFF\xFE") || document.starts_with("{\0"sv) ||
      document.starts_with("[\0"sv) || document.starts_with("\0{"sv) || document.starts_with("\0["sv))
    return "it looks like UTF-16; JSON is UTF-8";
  if (document.starts_with("\x1F\x8B"))
    return "it looks like gzip; decompress it before it is sent, or let Kafka compress";
  return {};
}

std::string found_text(std::string_view rest) {
  const auto length = pl::utf8_sequence(rest, 0);
  return "found " + quoted(rest.substr(0, length == 0 ? 1 : length));
}

std::string_view value_hint(std::string_view rest) noexcept {
  const auto starts = [&](std::string_view word) { return rest.starts_with(word); };
  if (starts("'")) return "; JSON has double quotes only";
  if (starts("//") || starts("/*") || starts("#")) return "; JSON has no comments";
  if (starts("]") || starts("}")) return "; is there a comma too many?";
  if (starts("NaN") || starts("nan") || starts("Inf") || starts("inf")) return "; NaN and Infinity are no JSON values";
  if (starts("+")) return "; JSON numbers have no plus sign";
  if (starts(".")) return "; JSON numbers begin with a digit";
  if (starts("True") || starts("False") || starts("None")) return "; JSON has true, false and null";
  return {};
}

std::string_view key_hint(std::string_view rest) noexcept {
  if (rest.starts_with("'")) return "; JSON has double quotes only";
  if (rest.starts_with("/") || rest.starts_with("#")) return "; JSON has no comments";
  if (rest.starts_with("}")) return "; is there a comma too many?";
  return {};
}

std::string_view number_hint(std::string_view before, std::string_view rest) noexcept {
  if (before.ends_with('0') && !rest.empty() && rest[0] >= '0' && rest[0] <= '9')
    return "; JSON numbers have no leading zeros";
  if (before.ends_with('-') && rest.starts_with("I")) return "; NaN and Infinity are no JSON values";
  return {};
}

std::string_view separator_hint(std::string_view before, std::string_view rest) noexcept {
  if (before.ends_with('0') && (rest.starts_with('x') || rest.starts_with('X')))
    return "; JSON has no hexadecimal numbers";
  if (rest.starts_with("//") || rest.starts_with("/*")) return "; JSON has no comments";
  return {};
}

}  // namespace

std::string_view text_of(const json_value& text, text_arena& arena) {
  const auto inside = text.raw.substr(1, text.raw.size() - 2);
  if (!text.escaped) return inside;
  char* const first = arena.allocate(inside.size());  // escapes are never shorter than what they stand for
  char* to = first;
  for (std::size_t i = 0; i < inside.size();) {
    if (inside[i] != '\\') {
      *to++ = inside[i++];
      continue;
    }
    if (inside[i + 1] != 'u') {
      *to++ = short_escape_value(inside[i + 1]);
      i += short_escape;
      continue;
    }
    auto code = hex_value(inside.substr(i + 2, 4));
    i += unicode_escape;
    if (code >= 0xD800 && code <= 0xDBFF) {
      code = 0x10000 + ((code - 0xD800) << 10) + (hex_value(inside.substr(i + 2, 4)) - 0xDC00);
      i += unicode_escape;
    }
    to = append_utf8(to, code);
  }
  const auto size = static_cast<std::size_t>(to - first);
  arena.give_back(inside.size() - size);
  return {first, size};
}

bool json_scanner::scan_other(json_value& to) {
  switch (peek()) {
    case '{':
      return scan_object(to);
    case '[':
      return scan_array(to);
    case 't':
      return scan_word("true", json_kind::boolean, to);
    case 'f':
      return scan_word("false", json_kind::boolean, to);
    case 'n':
      return scan_word("null", json_kind::null, to);
    default:
      return fail(scan_error::expected_value);
  }
}

bool json_scanner::scan_word(std::string_view word, json_kind kind, json_value& to) noexcept {
  const std::string_view rest(at_, static_cast<std::size_t>(end_ - at_));
  if (!rest.starts_with(word)) {
    if (word.starts_with(rest)) at_ = end_;  // cut off, rather than wrong
    return fail(scan_error::expected_value);
  }
  to.kind = kind;
  to.raw = rest.substr(0, word.size());
  at_ += word.size();
  return true;
}

bool json_scanner::scan_object(json_value& to) {
  const char* const first = at_;
  const bool whole = object([&](const json_key& key) {
    json_value inner;
    if (!value(inner)) return false;
    to.has_nul = to.has_nul || inner.has_nul || key.has_nul;
    watch(key);
    return true;
  });
  to.kind = json_kind::object;
  to.raw = {first, static_cast<std::size_t>(at_ - first)};
  return whole;
}

bool json_scanner::scan_array(json_value& to) {
  const char* const first = at_;
  const bool whole = array([&](std::uint32_t) {
    json_value inner;
    if (!value(inner)) return false;
    to.has_nul = to.has_nul || inner.has_nul;
    return true;
  });
  to.kind = json_kind::array;
  to.raw = {first, static_cast<std::size_t>(at_ - first)};
  return whole;
}

bool json_scanner::scan_unusual(json_value& to) {
  const auto byte = static_cast<unsigned char>(*at_);
  if (byte == '\\') return scan_escape(to);
  if (byte < 0x20) return fail(scan_error::control_character);
  const auto length = pl::utf8_sequence({at_, static_cast<std::size_t>(end_ - at_)}, 0);
  if (length == 0) return fail(scan_error::invalid_utf8);
  at_ += length;
  return true;
}

bool json_scanner::scan_escape(json_value& to) {
  to.escaped = true;
  ++at_;
  if (at_ == end_) return fail(scan_error::unexpected_end);
  if (*at_ == 'u') return ++at_, scan_unicode_escape(to);
  if (std::string_view("\"\\/bfnrt").find(*at_) == std::string_view::npos) return fail(scan_error::bad_escape);
  ++at_;
  return true;
}

bool json_scanner::scan_unicode_escape(json_value& to) {
  unsigned code = 0, low = 0;
  if (!scan_hex(code)) return false;
  if (code == 0) to.has_nul = true;
  if (code < 0xD800 || code > 0xDFFF) return true;
  if (code > 0xDBFF) return fail(scan_error::lone_surrogate);
  if (end_ - at_ < 2)
    return fail(at_ == end_ || *at_ == '\\' ? scan_error::unexpected_end : scan_error::lone_surrogate);
  if (at_[0] != '\\' || at_[1] != 'u') return fail(scan_error::lone_surrogate);
  at_ += 2;
  if (!scan_hex(low)) return false;
  return (low >= 0xDC00 && low <= 0xDFFF) || fail(scan_error::lone_surrogate);
}

bool json_scanner::scan_hex(unsigned& to) noexcept {
  for (int i = 0; i < 4; ++i, ++at_) {
    if (at_ == end_) return fail(scan_error::unexpected_end);
    const char c = *at_;
    const bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!is_hex) return fail(scan_error::bad_escape);
    to = to * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return true;
}

bool json_scanner::distinct(std::size_t first_key) {
  constexpr std::ptrdiff_t few = 16;  // up to here comparing each with each is cheaper than sorting
  const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(first_key);
  auto twice = keys_.end();
  if (keys_.end() - first <= few) {
    for (auto k = first; k != keys_.end() && twice == keys_.end(); ++k)
      if (std::find(first, k, *k) != k) twice = k;
  } else {
    std::sort(first, keys_.end(), shorter_or_less);
    twice = std::adjacent_find(first, keys_.end());
  }
  if (twice == keys_.end()) return true;
  duplicate_ = *twice;
  return fail(scan_error::duplicate_key);
}

std::string json_scanner::explain() const {
  const std::string_view document(begin_, static_cast<std::size_t>(end_ - begin_));
  const auto offset = static_cast<std::size_t>(at_ - begin_);
  const auto before = document.substr(0, offset), rest = document.substr(offset);
  const auto at = "not JSON: at offset " + std::to_string(offset) + ": ";
  const auto expected = [&](std::string_view what, std::string_view hint) {
    return at + "expected " + std::string(what) + ", " + found_text(rest) + std::string(hint);
  };
  if (document.empty()) return "the payload is empty";
  if (document.find_first_not_of(" \t\r\n") == std::string_view::npos) return "the payload is nothing but white space";
  if (const auto format = foreign_format(document); !format.empty()) return "not JSON: " + std::string(format);
  switch (error_) {
    case scan_error::none:
      return "no error";
    case scan_error::unexpected_end:
      return "not JSON: the document ends too early, after " + std::to_string(document.size()) +
             " bytes; was it cut off?";
    case scan_error::expected_value:
      return expected("a value", value_hint(rest));
    case scan_error::expected_key:
      return expected("a key in double quotes", key_hint(rest));
    case scan_error::expected_colon:
      return expected("':' after a key", {});
    case scan_error::expected_comma_or_brace:
      return expected("',' or '}'", separator_hint(before, rest));
    case scan_error::expected_comma_or_bracket:
      return expected("',' or ']'", separator_hint(before, rest));
    case scan_error::bad_number:
      return expected("a number as JSON writes it", number_hint(before, rest));
    case scan_error::control_character:
      return at + "a control character in a text, " + found_text(rest) + "; write it as an escape";
    case scan_error::invalid_utf8:
      return at + "a text that is not valid UTF-8, " + found_text(rest);
    case scan_error::bad_escape:
      return at + "an escape that JSON doesn't have, " + found_text(rest);
    case scan_error::lone_surrogate:
      return at + "half of a surrogate pair (an escape from \\ud800 to \\udfff without its other half)";
    case scan_error::more_than_one_document:
      return expected("the end of the document", rest.starts_with('{') || rest.starts_with('[')
                                                     ? "; one message is one document: send several records as an array"
                                                     : separator_hint(before, rest));
    case scan_error::too_deep:
      return "objects and arrays are nested deeper than max_depth (" + std::to_string(limits_.max_depth) +
             "), at offset " + std::to_string(offset);
    case scan_error::too_many_keys:
      return "a record has more keys than max_keys (" + std::to_string(limits_.max_keys) + ")";
    case scan_error::duplicate_key:
      return "the key " + quoted(duplicate_) + " is there twice in one object";
  }
  return "not JSON";
}

}  // namespace json_telemetry
