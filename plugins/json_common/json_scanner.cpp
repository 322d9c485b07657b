// SPDX-License-Identifier: Apache-2.0
#include "json_scanner.hpp"

#include "key_ends.hpp"
#include "wording.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace json {

namespace {

// Lengths of a valid escape sequence in characters, including the backslash.
constexpr std::size_t short_escape = 2, unicode_escape = 6;

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

// Return the index of a key that occurs twice, in a time that does not depend on which keys there are.
std::optional<std::size_t> find_twice_sorted(std::span<const std::string_view> keys) {
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(keys[i].size(), keys[i]); });
  const auto same = [&](std::size_t a, std::size_t b) { return keys[a] == keys[b]; };
  const auto found = std::ranges::adjacent_find(order, same);
  return found == order.end() ? std::nullopt : std::optional(*found);
}

// Return which other format the document seems to have; empty if unknown.
std::string_view foreign_format(std::string_view document) noexcept {
  using namespace std::string_view_literals;
  if (document.starts_with("\xEF\xBB\xBF")) return "it begins with a byte order mark (EF BB BF); send UTF-8 without it";
  if (document.starts_with("\xFE\xFF") || document.starts_with("\xFF\xFE") || document.starts_with("{\0"sv) ||
      document.starts_with("[\0"sv) || document.starts_with("\0{"sv) || document.starts_with("\0["sv))
    return "it looks like UTF-16; JSON is UTF-8";
  if (document.starts_with("\x1F\x8B")) return "it looks like gzip; send it uncompressed, or let Kafka compress it";
  return {};
}

std::string found_text(std::string_view rest) {
  const auto length = pl::utf8_sequence(rest, 0);
  return "found " + in_quotes(rest.substr(0, length == 0 ? 1 : length));
}

std::string_view value_hint(std::string_view rest) noexcept {
  const auto starts = [&](std::string_view word) { return rest.starts_with(word); };
  if (starts("'")) return "; JSON has double quotes only";
  if (starts("//") || starts("/*") || starts("#")) return "; JSON has no comments";
  if (starts("]") || starts("}")) return "; is there an extra comma?";
  if (starts("NaN") || starts("nan") || starts("Inf") || starts("inf")) return "; NaN and Infinity are not JSON values";
  if (starts("+")) return "; JSON numbers have no plus sign";
  if (starts(".")) return "; JSON numbers begin with a digit";
  if (starts("True") || starts("False") || starts("None")) return "; JSON has true, false and null";
  return {};
}

std::string_view key_hint(std::string_view rest) noexcept {
  if (rest.starts_with("'")) return "; JSON has double quotes only";
  if (rest.starts_with("/") || rest.starts_with("#")) return "; JSON has no comments";
  if (rest.starts_with("}")) return "; is there an extra comma?";
  return {};
}

std::string_view number_hint(std::string_view before, std::string_view rest) noexcept {
  if (before.ends_with('0') && !rest.empty() && rest[0] >= '0' && rest[0] <= '9')
    return "; JSON numbers have no leading zeros";
  if (before.ends_with('-') && rest.starts_with("I")) return "; NaN and Infinity are not JSON values";
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
  char* const first = arena.allocate(inside.size());  // an escape is never shorter than its character
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
    auto code = pl::hex_number(inside.substr(i + 2, 4));
    i += unicode_escape;
    if (code >= 0xD800 && code <= 0xDBFF) {
      code = 0x10000 + ((code - 0xD800) << 10) + (pl::hex_number(inside.substr(i + 2, 4)) - 0xDC00);
      i += unicode_escape;
    }
    to = pl::write_code_point(to, code);
  }
  const auto size = static_cast<std::size_t>(to - first);
  arena.give_back(inside.size() - size);
  return {first, size};
}

bool json_scanner::scan_unknown_key(json_key& key) {
  if (peek() != '"') return fail(scan_error::expected_key);
  if (keys_left_-- == 0) return fail(scan_error::too_many_keys);
  json_value text;
  if (!scan_text(text)) return false;
  key.raw = text.raw;
  key.has_nul = text.has_nul;
  key.text = text.escaped && limits_.decode_keys ? text_of(text, *arena_) : text.raw.substr(1, text.raw.size() - 2);
  const bool colon_follows = peek() == ':';
  skip_space();
  if (peek() != ':') return fail(scan_error::expected_colon);
  if (memory_ != nullptr && colon_follows && !text.escaped)
    if (auto* const known = memory_->remember({key.raw.data(), key.raw.size() + 1})) key.note = &known->about;
  ++at_;
  skip_space();
  return true;
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
    if (word.starts_with(rest)) at_ = end_;  // the document ends within the word: report a truncated document
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
    const int digit = pl::hex_value(*at_);
    if (digit < 0) return fail(scan_error::bad_escape);
    to = to * 16 + static_cast<unsigned>(digit);
  }
  return true;
}

bool json_scanner::distinct(std::size_t first_key) {
  const auto twice = find_twice(std::span<const std::string_view>(keys_).subspan(first_key));
  if (!twice) return true;
  duplicate_ = keys_[first_key + *twice];
  return fail(scan_error::duplicate_key);
}

// Return the index of a key that occurs twice.
std::optional<std::size_t> json_scanner::find_twice(std::span<const std::string_view> keys) {
  constexpr std::size_t few = 4;  // up to this number comparing all pairs is cheaper than hashing
  if (keys.size() <= few) {
    for (std::size_t i = 1; i < keys.size(); ++i)
      for (std::size_t k = 0; k < i; ++k)
        if (keys[i] == keys[k]) return i;
    return std::nullopt;
  }
  constexpr std::size_t many = 65'536;  // bounds the table
  if (keys.size() > many) return find_twice_sorted(keys);
  const auto bits = static_cast<unsigned>(std::bit_width(keys.size())) + 1;  // at most half full
  const auto mask = (std::uint32_t{1} << bits) - 1;
  places_.assign(std::size_t{1} << bits, 0);
  auto probes = keys.size() * 8;  // a sender can choose keys that collide
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto at = key_ends(keys[i]).place(bits);
    for (; places_[at] != 0; at = (at + 1) & mask) {
      if (keys[places_[at] - 1] == keys[i]) return i;
      if (--probes == 0) return find_twice_sorted(keys);
    }
    places_[at] = static_cast<std::uint32_t>(i + 1);
  }
  return std::nullopt;
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
  if (document.find_first_not_of(" \t\r\n") == std::string_view::npos) return "the payload contains only white space";
  if (const auto format = foreign_format(document); !format.empty()) return "not JSON: " + std::string(format);
  switch (error_) {
    case scan_error::none:
      return "no error";
    case scan_error::unexpected_end:
      return "not JSON: the document ends too early, after " + std::to_string(document.size()) +
             " bytes; was it truncated?";
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
      return expected("a JSON number", number_hint(before, rest));
    case scan_error::control_character:
      return at + "a control character in a string, " + found_text(rest) + "; write it as an escape";
    case scan_error::invalid_utf8:
      return at + "a string that is not valid UTF-8, " + found_text(rest);
    case scan_error::bad_escape:
      return at + "an invalid escape sequence, " + found_text(rest);
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
      return "the key " + in_quotes(duplicate_) + " occurs twice in one object";
  }
  return "not JSON";
}

}  // namespace json
