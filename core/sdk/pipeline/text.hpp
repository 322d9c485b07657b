// SPDX-License-Identifier: Apache-2.0
// Text: UTF-8, hexadecimal digits, base64, percent-encoding, JSON strings, and the known name nearest to a misspelt
// one.
//
// All functions are pure, may be called from any thread, and keep no reference to their arguments. Texts may contain
// any bytes, unless a comment calls them "valid": the caller must check valid texts. Offsets and sizes are in bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl {

// ------------------------------------------------------------------------------------------------------------ UTF-8 ---

// U+FFFD, which replaces a byte that is not UTF-8.
inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

// Return whether a byte is a continuation byte of a UTF-8 sequence.
[[nodiscard]] constexpr bool is_continuation(char c) noexcept {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

// Return the length (1 to 4) of the UTF-8 sequence that starts at s[at]; 0 if the sequence is not valid (RFC 3629,
// section 4: no overlong forms, no surrogates, at most U+10FFFF). Bytes past the end are read as NUL.
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

// Return the offset of the first byte that is not part of a valid sequence, or npos. Most texts are ASCII, which is
// checked eight bytes at a time.
[[nodiscard]] inline std::size_t find_invalid_utf8(std::string_view s) noexcept {
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
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

[[nodiscard]] inline bool is_utf8(std::string_view s) noexcept {
  return find_invalid_utf8(s) == std::string_view::npos;
}

// Call take(bytes, valid) for each character in order: a valid sequence, or one byte that is not part of any.
template <class Take>
void each_character(std::string_view text, Take&& take) {
  for (std::size_t at = 0; at < text.size();) {
    const auto n = utf8_sequence(text, at);
    const auto bytes = text.substr(at, n == 0 ? 1 : n);
    take(bytes, n != 0);
    at += bytes.size();
  }
}

// Return the text with U+FFFD in place of each byte that is not UTF-8.
[[nodiscard]] inline std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&](std::string_view bytes, bool valid) { out += valid ? bytes : replacement_character; });
  return out;
}

// Return the Unicode code point of one valid sequence.
[[nodiscard]] inline char32_t code_point(std::string_view sequence) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(sequence[i])); };
  if (sequence.size() == 1) return byte(0);
  char32_t code = byte(0) & (0xFFU >> (sequence.size() + 1));
  for (std::size_t i = 1; i < sequence.size(); ++i) code = code << 6U | (byte(i) & 0x3FU);
  return code;
}

// Write a code point as 1 to 4 bytes to `to` and return the end. The code point must not be a surrogate.
inline char* write_code_point(char* to, char32_t code) noexcept {
  const auto put = [&](char32_t byte) { *to++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
    return to;
  }
  if (code < 0x800) {
    put(0xC0U | code >> 6U);
  } else {
    if (code < 0x10000) {
      put(0xE0U | code >> 12U);
    } else {
      put(0xF0U | code >> 18U);
      put(0x80U | (code >> 12U & 0x3FU));
    }
    put(0x80U | (code >> 6U & 0x3FU));
  }
  put(0x80U | (code & 0x3FU));
  return to;
}

inline void append_code_point(std::string& out, char32_t code) {
  char bytes[4];
  out.append(bytes, write_code_point(bytes, code));
}

// Return the number of code points of a valid text.
[[nodiscard]] inline std::size_t count_characters(std::string_view utf8) noexcept {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return !is_continuation(c); }));
}

// Return at most the first `max` bytes, cut at a character boundary.
[[nodiscard]] inline std::string_view cut_bytes(std::string_view text, std::size_t max) noexcept {
  if (text.size() <= max) return text;
  std::size_t end = max;
  for (int i = 0; i < 3 && end > 0 && is_continuation(text[end]); ++i) --end;
  return text.substr(0, end);
}

// Return whether a character can control a terminal: C0, DEL or C1.
[[nodiscard]] constexpr bool is_control(char32_t code) noexcept { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

// Return whether a character is displayed as nothing, and so can disguise a text or hide one in another: direction marks
// (Unicode Technical Report 36, section 2.8), zero-width spaces and joiners, tags, variation selectors. These are the
// characters with the property Default_Ignorable_Code_Point, and U+FFF9 to U+FFFB.
[[nodiscard]] constexpr bool is_invisible(char32_t code) noexcept {
  constexpr std::pair<char32_t, char32_t> ranges[] = {
      {0x00AD, 0x00AD}, {0x034F, 0x034F}, {0x061C, 0x061C},   {0x115F, 0x1160},   {0x17B4, 0x17B5},  {0x180B, 0x180F},
      {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x206F},   {0x3164, 0x3164},   {0xFE00, 0xFE0F},  {0xFEFF, 0xFEFF},
      {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}};
  for (const auto& [first, last] : ranges)
    if (code <= last) return code >= first;
  return false;
}

// Return whether a terminal must not receive the character as it is: a control, a line or paragraph separator, or an
// invisible character.
[[nodiscard]] constexpr bool is_unsafe_for_terminal(char32_t code) noexcept {
  return is_control(code) || code == 0x2028 || code == 0x2029 || is_invisible(code);
}

// ------------------------------------------------------------------------------------------------------------ ASCII ---

[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
[[nodiscard]] constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
// Convert only ASCII letters, independently of the locale.
[[nodiscard]] inline std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (auto& c : lower) c = to_lower(c);
  return lower;
}

// Remove the characters of `these` from both ends.
[[nodiscard]] constexpr std::string_view trim(std::string_view text, std::string_view these = " \t\r\n") noexcept {
  const auto begin = text.find_first_not_of(these);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(these) - begin + 1);
}

// ------------------------------------------------------------------------------------------------------ hexadecimal ---

enum class hex_case : std::uint8_t { lower, upper };

[[nodiscard]] constexpr char hex_digit(unsigned value, hex_case which = hex_case::lower) noexcept {
  return (which == hex_case::lower ? "0123456789abcdef" : "0123456789ABCDEF")[value & 15U];
}

// Return 0 to 15, or -1 if `c` is not a hexadecimal digit.
[[nodiscard]] constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  c = to_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Append two digits.
inline void append_hex(std::string& out, char byte, hex_case which = hex_case::lower) {
  const auto u = static_cast<unsigned char>(byte);
  out.push_back(hex_digit(u >> 4U, which));
  out.push_back(hex_digit(u, which));
}

// Append the bytes as two lower-case digits each.
inline void append_hex(std::string& out, std::string_view bytes) {
  out.reserve(out.size() + bytes.size() * 2);
  for (const char c : bytes) append_hex(out, c);
}
[[nodiscard]] inline std::string to_hex(std::string_view bytes) {
  std::string out;
  append_hex(out, bytes);
  return out;
}

// Decode an even number of digits in either case; std::nullopt if the text is anything else.
[[nodiscard]] inline std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const int high = hex_value(digits[i]), low = hex_value(digits[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return bytes;
}

// Return the value of at most eight valid digits.
[[nodiscard]] constexpr std::uint32_t hex_number(std::string_view digits) noexcept {
  std::uint32_t value = 0;
  for (const char c : digits) value = value << 4U | static_cast<std::uint32_t>(hex_value(c));
  return value;
}

// Append a byte as an escape such as \x1b.
inline void append_byte_escape(std::string& out, char byte, hex_case which = hex_case::lower) {
  out += "\\x";
  append_hex(out, byte, which);
}

// -------------------------------------------------------------------------------------------------------- encodings ---

// Encode bytes as base64 with padding (RFC 4648, section 4).
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

// Decode base64; std::nullopt if a character is not a base64 digit. Padding may be missing.
[[nodiscard]] inline std::optional<std::string> from_base64(std::string_view text) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0, have = 0;
  for (const char c : text) {
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6U | static_cast<unsigned>(digit);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    bytes.push_back(static_cast<char>(bits >> have & 0xFFU));
  }
  return bytes;
}

// Append a byte as %XX, such as %2F for '/' (RFC 3986, section 2.1).
inline void append_percent(std::string& out, char byte) {
  out.push_back('%');
  append_hex(out, byte, hex_case::upper);
}

// Decode each %XX; std::nullopt if two hexadecimal digits do not follow a '%'.
[[nodiscard]] inline std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

// Append the escape (RFC 8259, section 7) of a quote, a backslash or an ASCII control character.
inline void append_json_escape(std::string& out, char c) {
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
    append_hex(out, c);
  }
}

// Append valid UTF-8 as a JSON string, quoted and escaped.
inline void append_json_string(std::string& out, std::string_view utf8) {
  out.push_back('"');
  std::size_t plain = 0;  // start of the characters that need no escape; they are appended together
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

// Append a code point as a JSON escape such as \u202e; from U+10000 on, as a surrogate pair.
inline void append_json_code_point(std::string& out, char32_t code) {
  if (code >= 0x10000) {
    append_json_code_point(out, 0xD800 + ((code - 0x10000) >> 10U));
    code = 0xDC00 + (code & 0x3FFU);
  }
  out += "\\u";
  for (const unsigned shift : {12U, 8U, 4U, 0U}) out.push_back(hex_digit(static_cast<unsigned>(code) >> shift));
}

// Append a code point as an escape for people, such as \u202e or \U000e0041.
inline void append_code_point_escape(std::string& out, char32_t code) {
  if (code < 0x10000) return append_json_code_point(out, code);
  out += "\\U";
  for (unsigned digit = 8; digit-- > 0;) out.push_back(hex_digit(static_cast<unsigned>(code) >> (4 * digit)));
}

// Append a JSON text without the characters from DEL on that are unsafe for a terminal: they become \u escapes, which
// JSON allows inside strings, and such characters do not occur elsewhere in JSON.
inline void append_json_for_terminal(std::string& out, std::string_view json) {
  each_character(json, [&](std::string_view bytes, bool valid) {
    const auto code = valid ? code_point(bytes) : char32_t{0xFFFD};
    if (!valid)
      out += replacement_character;
    else if (code < 0x7F || !is_unsafe_for_terminal(code))
      out += bytes;
    else
      append_json_code_point(out, code);
  });
}

// ----------------------------------------------------------------------------------------------------- nearest name ---

// Return the restricted Damerau-Levenshtein distance (optimal string alignment; Boytsov 2011, section 2.2): the minimum
// number of edits, each of which inserts, deletes or replaces a byte or swaps two neighbours. Takes a.size() * b.size()
// steps.
[[nodiscard]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + cost});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

namespace detail {

// Normalise a name for comparison: ignore case, read '-' as '_', and keep the first 64 bytes.
[[nodiscard]] inline std::string normal_name(std::string_view name) {
  auto normal = to_lower(name.substr(0, 64));
  std::replace(normal.begin(), normal.end(), '-', '_');
  return normal;
}

[[nodiscard]] inline bool is_longer_form(std::string_view a, std::string_view b) noexcept {
  const auto shorter = std::min(a.size(), b.size());
  return shorter >= 4 && a.substr(0, shorter) == b.substr(0, shorter);
}

}  // namespace detail

// Return the known name that `name` probably misspells, as a view into `known` (a range of texts): the names differ in
// at most about a third of the characters, or one is a prefix of the other. Return std::nullopt if no name is that
// similar.
template <class Names>
[[nodiscard]] std::optional<std::string_view> nearest_name(std::string_view name, const Names& known) {
  const auto wanted = detail::normal_name(name);
  std::optional<std::string_view> best, longer;
  auto best_distance = (wanted.size() < 3 ? 0 : std::max<std::size_t>(1, wanted.size() / 3)) + 1;
  for (const auto& candidate : known) {
    const auto other = detail::normal_name(candidate);
    const auto distance = edit_distance(wanted, other);
    if (distance < best_distance) best = candidate, best_distance = distance;
    if (!longer && detail::is_longer_form(wanted, other)) longer = candidate;
  }
  return best ? best : longer;
}

// Return "did you mean 'table'?" after `before` ("; "), or an empty text if no known name is similar.
template <class Names>
[[nodiscard]] std::string did_you_mean(std::string_view name, const Names& known, std::string_view before = {}) {
  const auto near = nearest_name(name, known);
  return near ? std::string(before).append("did you mean '").append(*near).append("'?") : std::string();
}

}  // namespace pl
