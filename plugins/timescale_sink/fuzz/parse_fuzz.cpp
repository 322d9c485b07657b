// SPDX-License-Identifier: Apache-2.0
// Parses any bytes as a time, a date, a UUID, a number and a table name, and checks that each is parsed correctly or
// rejected.
#include "../names.hpp"
#include "../parse.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/time.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace timescale;

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated property: %s\n", what);
  std::abort();
}

// A number as digits without leading or trailing zeros, and the position of the decimal point: 0.digits * 10^point.
struct number {
  bool negative = false;
  std::string digits;
  std::int64_t point = 0;
  bool operator==(const number&) const = default;
};

number normal(bool negative, std::string digits, std::int64_t point) {
  const auto first = std::min(digits.find_first_not_of('0'), digits.size());
  digits.erase(0, first);
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.empty()) return {};
  return {negative, digits, point - std::int64_t(first)};
}

// Parse the text independently of the encoder. Only for texts that the encoder has accepted.
number written(std::string_view text) {
  const auto e = std::min(text.find_first_of("eE"), text.size());
  const auto exponent = e < text.size() ? std::strtoll(std::string(text.substr(e + 1)).c_str(), nullptr, 10) : 0;
  std::string digits(text.substr(0, e));
  const bool negative = digits.starts_with('-');
  std::erase_if(digits, [](char c) { return c == '+' || c == '-'; });
  const auto point = std::int64_t(std::min(digits.find('.'), digits.size()));
  std::erase(digits, '.');
  return normal(negative, digits, point + exponent);
}

std::uint16_t word(std::string_view bytes, std::size_t at) {
  return std::uint16_t(std::uint16_t(std::uint8_t(bytes[at])) << 8U | std::uint8_t(bytes[at + 1]));
}

// Decode PostgreSQL's binary numeric.
number decoded(std::string_view bytes) {
  must(bytes.size() >= 12 && word(bytes, 0) == 0, "a numeric begins with its length and header");
  bytes.remove_prefix(4);
  const auto groups = word(bytes, 0), sign = word(bytes, 4), scale = word(bytes, 6);
  must(bytes.size() == 8U + 2U * groups && (sign == 0 || sign == 0x4000) && scale <= 16383, "a numeric is well-formed");
  std::string digits;
  for (std::size_t i = 0; i < groups; ++i) {
    const auto four = std::to_string(word(bytes, 8 + 2 * i));
    must(four.size() <= 4, "a group has at most four digits");
    digits += std::string(4 - four.size(), '0') + four;
  }
  return normal(sign != 0, digits, (std::int16_t(word(bytes, 2)) + 1) * 4);
}

void check_number(std::string_view text) {
  numeric_encoder encoder;
  byte_buffer out;
  if (!encoder.append(out, text)) return must(out.size() == 0, "nothing is written for a text that is not a number");
  must(text.find_first_not_of("0123456789+-.eE") == std::string_view::npos, "a number consists of digits");
  must(decoded(out.bytes()) == written(text), "no digit is lost");
}

void check_times(std::string_view text) {
  (void)parse_date(text);
  const auto us = parse_time(text);
  std::int64_t ns = 0;
  if (!us || __builtin_mul_overflow(*us, 1000, &ns)) return;
  must(parse_time(pl::rfc3339(ns)) == us, "a formatted time parses to the same time");
}

void check_names(std::string_view text) {
  const auto name = parse_table_name(text);
  if (!name.ok()) return must(name.why().message.size() > 20, "an error has a message");
  const auto again = parse_table_name(name->sql());
  must(again.ok() && again->schema == name->schema && again->table == name->table,
       "a quoted name parses to the same name");
}

void check_texts(std::string_view text) {
  const bool nul = text.find('\0') != std::string_view::npos, utf8 = pl::is_utf8(text);
  must((check_text(text) == text_fault::none) == (!nul && utf8), "PostgreSQL accepts UTF-8 without NUL");
  must(characters(text) <= text.size(), "a character has at least one byte");
  if (const auto meaning = pl::json_text(text))
    must(has_escaped_nul(text) == (meaning->find('\0') != std::string::npos), "an escaped NUL is found");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Copy the input to a buffer of exact size, so that the sanitizer detects reads beyond its end.
  const std::vector<char> copy(data, data + size);
  const std::string_view text(copy.data(), copy.size());
  check_times(text);
  (void)parse_uuid(text);
  check_number(text);
  check_names(text);
  check_texts(text);
  return 0;
}
