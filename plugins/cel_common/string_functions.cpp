// SPDX-License-Identifier: Apache-2.0
#include "cel_common/library.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <cstring>

namespace pl::cel {

namespace {

constexpr auto npos = std::string_view::npos;

// Return the byte at which code point `index` begins, the size of the text for the end, npos beyond it.
std::size_t byte_of(std::string_view utf8, std::int64_t index) noexcept {
  std::size_t at = 0;
  for (; index > 0 && at < utf8.size(); --index) {
    ++at;
    while (at < utf8.size() && is_continuation(utf8[at])) ++at;
  }
  return index == 0 ? at : npos;
}

// memmem is linear in the length of both texts; std::string_view::find is not.
std::size_t find_part(std::string_view text, std::string_view part, std::size_t from) noexcept {
  if (part.empty()) return from;
  const auto rest = text.substr(from);
  const auto* found = rest.empty() ? nullptr : memmem(rest.data(), rest.size(), part.data(), part.size());
  return found == nullptr ? npos : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

value index_value(std::string_view text, std::size_t byte) noexcept {
  return int_value(byte == npos ? -1 : static_cast<std::int64_t>(count_characters(text.substr(0, byte))));
}

value out_of_range(evaluation& e, std::int64_t index) {
  return e.fail({"index out of range: ", std::to_string(index)});
}

// Return the last place of a part that begins at byte `from` or before.
value find_last(evaluation& e, std::string_view text, std::string_view part, std::size_t from) {
  // rfind compares the part at each place in the worst case.
  const auto comparisons = static_cast<std::int64_t>(part.size() / 32 + 1);
  if (!e.spend(static_cast<std::int64_t>(text.size() / 32) * comparisons)) return e.limit_error();
  return index_value(text, text.rfind(part, from));
}

value with_case(evaluation& e, std::string_view text, char first, char last, int change) {
  auto* to = e.spend_bytes(text.size()) ? e.allocate<char>(text.size()) : nullptr;
  if (to == nullptr) return e.limit_error();
  std::transform(text.begin(), text.end(), to,
                 [&](char c) { return c >= first && c <= last ? static_cast<char>(c + change) : c; });
  return string_value({to, text.size()});
}

// White space by the Unicode property White_Space.
bool is_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace

value string_size(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  return int_value(static_cast<std::int64_t>(count_characters(args[0].view())));
}

value contains(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  return bool_value(find_part(args[0].view(), args[1].view(), 0) != npos);
}

value starts_with(evaluation&, const value* args) { return bool_value(args[0].view().starts_with(args[1].view())); }

value ends_with(evaluation&, const value* args) { return bool_value(args[0].view().ends_with(args[1].view())); }

value char_at(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  const auto text = args[0].view();
  const auto at = byte_of(text, args[1].integer);
  if (args[1].integer < 0 || at == npos) return out_of_range(e, args[1].integer);
  return string_value(text.substr(at, at == text.size() ? 0 : utf8_sequence(text, at)));
}

value index_of(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  return index_value(args[0].view(), find_part(args[0].view(), args[1].view(), 0));
}

value index_of_from(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  const auto from = byte_of(args[0].view(), args[2].integer);
  if (args[2].integer < 0 || from == npos) return out_of_range(e, args[2].integer);
  return index_value(args[0].view(), find_part(args[0].view(), args[1].view(), from));
}

value last_index_of(evaluation& e, const value* args) { return find_last(e, args[0].view(), args[1].view(), npos); }

value last_index_of_from(evaluation& e, const value* args) {
  const auto from = byte_of(args[0].view(), args[2].integer);
  if (args[2].integer < 0 || from == npos) return out_of_range(e, args[2].integer);
  return find_last(e, args[0].view(), args[1].view(), from);
}

value substring_from(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  const auto begin = byte_of(args[0].view(), args[1].integer);
  if (args[1].integer < 0 || begin == npos) return out_of_range(e, args[1].integer);
  return string_value(args[0].view().substr(begin));
}

value substring(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  const auto text = args[0].view();
  const auto first = args[1].integer, last = args[2].integer;
  const auto begin = byte_of(text, first), end = byte_of(text, last);
  if (first < 0 || begin == npos) return out_of_range(e, first);
  if (last < 0 || end == npos) return out_of_range(e, last);
  if (first > last)
    return e.fail({"invalid substring range: start ", std::to_string(first), ", end ", std::to_string(last)});
  return string_value(text.substr(begin, end - begin));
}

value lower_ascii(evaluation& e, const value* args) { return with_case(e, args[0].view(), 'A', 'Z', 'a' - 'A'); }
value upper_ascii(evaluation& e, const value* args) { return with_case(e, args[0].view(), 'a', 'z', 'A' - 'a'); }

value trim_spaces(evaluation& e, const value* args) {
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  const auto text = args[0].view();
  std::size_t begin = text.size(), end = 0;
  each_character(text, [&](std::string_view bytes, bool valid) {
    if (valid && is_space(code_point(bytes))) return;
    const auto at = static_cast<std::size_t>(bytes.data() - text.data());
    begin = std::min(begin, at);
    end = at + bytes.size();
  });
  return string_value(begin < end ? text.substr(begin, end - begin) : std::string_view{});
}

value reverse_string(evaluation& e, const value* args) {
  const auto text = args[0].view();
  auto* to = e.spend_bytes(text.size()) ? e.allocate<char>(text.size()) : nullptr;
  if (to == nullptr) return e.limit_error();
  auto* at = to + text.size();
  each_character(text, [&](std::string_view bytes, bool) {
    at -= bytes.size();
    std::copy(bytes.begin(), bytes.end(), at);
  });
  return string_value({to, text.size()});
}

value quote(evaluation& e, const value* args) {
  static constexpr std::string_view plain = "\a\b\f\n\r\t\v\\\"", escaped = "abfnrtv\\\"";
  if (!e.spend_bytes(args[0].size)) return e.limit_error();
  auto& out = e.scratch();
  out.push_back('"');
  for (const char c : args[0].view()) {
    const auto at = plain.find(c);
    if (at != npos) out.push_back('\\');
    out.push_back(at != npos ? escaped[at] : c);
  }
  out.push_back('"');
  return e.copy_string(out);
}

}  // namespace pl::cel
