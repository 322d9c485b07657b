// SPDX-License-Identifier: Apache-2.0
#include "cel_common/lexer.hpp"

#include "cel_common/literals.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace pl::cel {

namespace {

constexpr bool starts_name(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
constexpr bool in_name(char c) noexcept { return starts_name(c) || is_digit(c); }
// Characters of a name between backticks.
constexpr bool in_escaped_name(char c) noexcept { return in_name(c) || c == '.' || c == '-' || c == '/' || c == ' '; }

// Longer operators come before their prefixes.
constexpr std::array<std::string_view, 24> signs{"==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/",
                                                 "%",  "!",  "?",  ":",  ".",  ",",  "(", ")", "[", "]", "{", "}"};

// Return what to write instead of a sign that is not part of the language.
std::string_view advice(std::string_view rest) noexcept {
  if (rest.starts_with("=~")) return "; write text.matches('pattern')";
  for (const std::string_view quote : {"\u2018", "\u2019", "\u201c", "\u201d", "\u201e"})
    if (rest.starts_with(quote)) return "; write straight quotes: 'text'";
  switch (rest[0]) {
    case '=':
      return "; write == to compare";
    case '&':
      return "; write && for a logical and, math.bitAnd(a, b) for bits";
    case '|':
      return "; write || for a logical or, math.bitOr(a, b) for bits";
    default:
      return "";
  }
}

// Return the length of the opening quotes of a literal: 1 or 3.
std::size_t quote_length(std::string_view text) noexcept {
  return text.size() >= 3 && text[1] == text[0] && text[2] == text[0] ? 3 : 1;
}

}  // namespace

std::nullopt_t lexer::fail(std::uint32_t begin, std::uint32_t end, std::string message) {
  why_ = {std::move(message), begin, end};
  return std::nullopt;
}

std::optional<token> lexer::done(token t, token_kind kind) const {
  t.kind = kind;
  t.end = static_cast<std::uint32_t>(at_);
  t.text = source_.substr(t.begin, t.end - t.begin);
  return t;
}

void lexer::skip_space() noexcept {
  while (at_ < source_.size()) {
    if (source_.substr(at_).starts_with("//"))
      at_ = std::min(source_.find('\n', at_), source_.size());
    else if (std::string_view(" \t\n\r\f").find(source_[at_]) != std::string_view::npos)
      ++at_;
    else
      return;
  }
}

std::optional<token> lexer::next() {
  skip_space();
  token t;
  t.begin = static_cast<std::uint32_t>(at_);
  if (at_ == source_.size()) return done(std::move(t), token_kind::end);
  const char c = peek();
  if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number(std::move(t));
  if (c == '"' || c == '\'') return quoted(std::move(t));
  if (c == '`') return escaped_name(std::move(t));
  if (starts_name(c)) return word(std::move(t));
  return sign(std::move(t));
}

std::optional<token> lexer::number(token t) {
  const auto digits = [&] {
    while (is_digit(peek())) ++at_;
  };
  bool real = false;
  if (peek() == '0' && peek(1) == 'x') {
    at_ += 2;
    while (hex_value(peek()) >= 0) ++at_;
  } else {
    digits();
    if (peek() == '.' && is_digit(peek(1))) real = true, ++at_, digits();
    const bool sign = peek(1) == '+' || peek(1) == '-';
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(sign ? 2 : 1))) real = true, at_ += sign ? 2 : 1, digits();
  }
  const auto end = static_cast<std::uint32_t>(at_);
  if (in_name(peek())) {
    while (in_name(peek())) ++at_;
    const std::string shown(source_.substr(t.begin, at_ - t.begin));
    const bool is_unsigned = at_ == end + 1U && (source_[end] == 'u' || source_[end] == 'U');
    return fail(t.begin, static_cast<std::uint32_t>(at_),
                is_unsigned
                    ? "'" + shown + "': unsigned integers are not supported; write " + shown.substr(0, end - t.begin)
                    : "'" + shown + "' is not a number");
  }
  auto number = *done(std::move(t), real ? token_kind::real : token_kind::integer);
  const auto too_large = [&] {
    return fail(number.begin, end, "the number " + std::string(number.text) + " is too large");
  };
  if (real) {
    const auto value = read_double(number.text);
    if (!value) return too_large();
    number.real = *value;
    return number;
  }
  const bool hexadecimal = number.text.starts_with("0x");
  const auto text = number.text.substr(hexadecimal ? 2 : 0);
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (read.ec == std::errc::invalid_argument) return fail(number.begin, end, "'0x' needs hexadecimal digits");
  constexpr std::uint64_t largest = INT64_MAX;
  if (read.ec != std::errc() || value > largest + 1) return too_large();
  number.too_large = value > largest;
  number.integer = static_cast<std::int64_t>(value);
  return number;
}

std::optional<token> lexer::quoted(token t) {
  bool raw = false, bytes = false;
  for (std::size_t i = t.begin; i < at_; ++i) (to_lower(source_[i]) == 'r' ? raw : bytes) = true;
  const auto rest = source_.substr(at_);
  const auto quotes = rest.substr(0, quote_length(rest));
  const auto begin = at_ + quotes.size();
  auto end = begin;
  while (true) {
    if (end >= source_.size() || (quotes.size() == 1 && (source_[end] == '\n' || source_[end] == '\r')))
      return fail(t.begin, static_cast<std::uint32_t>(end), "the closing " + std::string(quotes) + " is missing");
    if (source_.substr(end).starts_with(quotes)) break;
    end += !raw && source_[end] == '\\' ? 2 : 1;
  }
  const auto content = source_.substr(begin, end - begin);
  at_ = end + quotes.size();
  if (raw) {
    t.value = content;
  } else {
    auto read = decode_escapes(content, bytes);
    if (!read.mistake.empty())
      return fail(static_cast<std::uint32_t>(begin + read.begin), static_cast<std::uint32_t>(begin + read.end),
                  std::move(read.mistake));
    t.value = std::move(read.value);
  }
  return done(std::move(t), bytes ? token_kind::bytes : token_kind::string);
}

std::optional<token> lexer::word(token t) {
  while (in_name(peek())) ++at_;
  const auto text = source_.substr(t.begin, at_ - t.begin);
  if (peek() == '"' || peek() == '\'') {
    const auto prefix = to_lower(text);
    if (prefix == "r" || prefix == "b" || prefix == "br") return quoted(std::move(t));
  }
  const bool keyword = text == "true" || text == "false" || text == "null" || text == "in";
  return done(std::move(t), keyword ? token_kind::keyword : token_kind::name);
}

std::optional<token> lexer::escaped_name(token t) {
  ++at_;
  while (in_escaped_name(peek())) ++at_;
  if (peek() != '`' || at_ == t.begin + 1U)
    return fail(t.begin, static_cast<std::uint32_t>(at_),
                "a name between backticks has only letters, digits, spaces and the characters _ . - /");
  ++at_;
  t.value = source_.substr(t.begin + 1U, at_ - t.begin - 2U);
  return done(std::move(t), token_kind::escaped_name);
}

std::optional<token> lexer::sign(token t) {
  const auto rest = source_.substr(at_);
  const auto found = std::find_if(signs.begin(), signs.end(), [&](std::string_view s) { return rest.starts_with(s); });
  if (found == signs.end()) {
    const auto length = std::max<std::size_t>(1, utf8_sequence(source_, at_));
    return fail(t.begin, static_cast<std::uint32_t>(at_ + length),
                "unexpected '" + valid_utf8(rest.substr(0, length)) + "'" + std::string(advice(rest)));
  }
  at_ += found->size();
  return done(std::move(t), token_kind::sign);
}

}  // namespace pl::cel
