// SPDX-License-Identifier: Apache-2.0
#include "cel_common/literals.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace pl::cel {

namespace {

// Return whether a decimal number that from_chars finds out of range is too large, and not too small.
bool is_huge(std::string_view text) noexcept {
  const auto exponent_at = text.find_first_of("eE");
  const auto mantissa = text.substr(0, exponent_at);
  std::int64_t exponent = 0;
  if (exponent_at != std::string_view::npos) {
    auto digits = text.substr(exponent_at + 1);
    const bool negative = digits.starts_with('-');
    if (digits.starts_with('+') || negative) digits.remove_prefix(1);
    for (const char c : digits) exponent = std::min<std::int64_t>(exponent * 10 + (c - '0'), 1'000'000'000);
    if (negative) exponent = -exponent;
  }
  // The power of ten of the first digit that is not 0.
  const auto point = std::min(mantissa.find('.'), mantissa.size());
  const auto first = mantissa.find_first_of("123456789");
  if (first == std::string_view::npos) return false;
  const auto power = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) - (first < point ? 1 : 0);
  return power + exponent > 0;
}

// Decodes one text. After a mistake `out.mistake` is set.
class decoder {
 public:
  decoder(std::string_view text, bool as_bytes) noexcept : text_(text), as_bytes_(as_bytes) {}

  decoded run() {
    while (at_ < text_.size() && out_.mistake.empty()) {
      const auto plain = std::min(text_.find('\\', at_), text_.size());
      out_.value.append(text_, at_, plain - at_);
      at_ = plain;
      if (at_ < text_.size()) escape();
    }
    return std::move(out_);
  }

 private:
  static constexpr std::string_view letters = "abfnrtv\\?\"'`", meant = "\a\b\f\n\r\t\v\\?\"'`";

  void fail(std::size_t length, std::string_view what) {
    out_.begin = at_;
    out_.end = std::min(at_ + length, text_.size());
    const auto shown = valid_utf8(text_.substr(out_.begin, out_.end - out_.begin));
    out_.mistake = "'" + shown + "' " + std::string(what);
  }

  void escape() {
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (const auto at = letters.find(c); at != std::string_view::npos && c != '\0') {
      out_.value.push_back(meant[at]);
      at_ += 2;
    } else if (c == 'x' || c == 'X') {
      hexadecimal(2);
    } else if (c == 'u' || c == 'U') {
      if (as_bytes_)
        fail(2, "is not an escape sequence of a bytes literal; write the bytes as \\x.. or the character itself");
      else
        hexadecimal(c == 'u' ? 4 : 8);
    } else if (c >= '0' && c <= '3') {
      octal();
    } else {
      fail(2, "is not an escape sequence; write a backslash as \\\\, or use a raw string: r'...'");
    }
  }

  void hexadecimal(std::size_t count) {
    const auto digits = text_.substr(std::min(at_ + 2, text_.size()), count);
    const bool valid =
        digits.size() == count && std::all_of(digits.begin(), digits.end(), [](char c) { return hex_value(c) >= 0; });
    if (!valid) return fail(2 + count, "needs " + std::to_string(count) + " hexadecimal digits");
    put(hex_number(digits), 2 + count);
  }

  void octal() {
    const auto digits = text_.substr(at_ + 1, 3);
    const bool valid =
        digits.size() == 3 && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '7'; });
    if (!valid) return fail(4, "needs three octal digits");
    put(static_cast<std::uint32_t>((digits[0] - '0') * 64 + (digits[1] - '0') * 8 + (digits[2] - '0')), 4);
  }

  // Append a code point, or a byte, and skip its escape sequence.
  void put(std::uint32_t code, std::size_t length) {
    if (as_bytes_)
      out_.value.push_back(static_cast<char>(code));
    else if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
      return fail(length, "is not a Unicode character");
    else
      append_code_point(out_.value, code);
    at_ += length;
  }

  std::string_view text_;
  bool as_bytes_;
  std::size_t at_ = 0;
  decoded out_;
};

}  // namespace

std::optional<double> read_double(std::string_view text) noexcept {
  const auto unsigned_text = text.starts_with('-') || text.starts_with('+') ? text.substr(1) : text;
  // from_chars also reads "inf" and "nan".
  if (unsigned_text.empty() || (!is_digit(unsigned_text[0]) && unsigned_text[0] != '.')) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(unsigned_text.data(), unsigned_text.data() + unsigned_text.size(), value);
  if (end != unsigned_text.data() + unsigned_text.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    if (is_huge(unsigned_text)) return std::nullopt;
    value = 0;
  }
  return text.starts_with('-') ? -value : value;
}

std::optional<std::int64_t> read_int(std::string_view text) noexcept {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

decoded decode_escapes(std::string_view text, bool as_bytes) { return decoder(text, as_bytes).run(); }

}  // namespace pl::cel
