// SPDX-License-Identifier: Apache-2.0
#include "strings.hpp"

#include <pipeline/text.hpp>

namespace mqtt {
namespace {

std::string code_point_of(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  unsigned code = sequence.size() == 1   ? byte(0)
                  : sequence.size() == 2 ? byte(0) & 0x1FU
                  : sequence.size() == 3 ? byte(0) & 0x0FU
                                         : byte(0) & 0x07U;
  for (std::size_t i = 1; i < sequence.size(); ++i) code = code << 6U | (byte(i) & 0x3FU);
  std::string text;
  for (; code != 0 || text.size() < 4; code >>= 4U) text.insert(text.begin(), "0123456789ABCDEF"[code & 15U]);
  return "U+" + text;
}

}  // namespace

bool is_discouraged(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7F;
  if (sequence.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
  const unsigned last = byte(sequence.size() - 1);
  if (sequence.size() == 3)  // U+FDD0..FDEF, U+FFFE, U+FFFF
    return (byte(0) == 0xEF && byte(1) == 0xB7 && last >= 0x90 && last <= 0xAF) ||
           (byte(0) == 0xEF && byte(1) == 0xBF && last >= 0xBE);
  return (byte(1) & 0x0FU) == 0x0FU && byte(2) == 0xBF && last >= 0xBE;  // U+nFFFE, U+nFFFF
}

std::optional<std::string> string_problem(std::string_view text) {
  if (text.size() > max_string_bytes)
    return "has " + std::to_string(text.size()) + " bytes; MQTT allows 65,535 in a string";
  for (std::size_t i = 0; i < text.size();) {
    const auto n = pl::utf8_sequence(text, i);
    if (n == 0) return "is not valid UTF-8";
    const auto sequence = text.substr(i, n);
    if (is_discouraged(sequence))
      return (n == 1 || n == 2 ? "has a control character (" : "has a noncharacter (") + code_point_of(sequence) + ")";
    i += n;
  }
  return std::nullopt;
}

void append_allowed(std::string& out, std::string_view text) {
  const auto before = out.size();
  bool encoded = false;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = pl::utf8_sequence(text, i);
    const auto sequence = text.substr(i, n == 0 ? 1 : n);
    if (n == 0 || text[i] == '%' || is_discouraged(sequence)) {
      encoded |= text[i] != '%';
      for (const char c : sequence) pl::append_percent(out, c);
    } else {
      out += sequence;
    }
    i += sequence.size();
  }
  if (encoded) return;
  out.resize(before);
  out += text;
}

std::string shown(std::string_view value) {
  constexpr std::size_t most = 60;
  std::string out = "\"";
  for (std::size_t i = 0; i < value.size();) {
    if (i >= most) return out + "...\" (" + std::to_string(value.size()) + " bytes)";
    const auto n = pl::utf8_sequence(value, i);
    if (n == 0 || is_discouraged(value.substr(i, n))) {
      pl::append_byte_escape(out, value[i++], pl::hex_case::upper);
    } else {
      out += value.substr(i, n);
      i += n;
    }
  }
  return out + "\"";
}

}  // namespace mqtt
