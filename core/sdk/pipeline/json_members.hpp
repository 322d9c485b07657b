// SPDX-License-Identifier: Apache-2.0
// Reads back what json.hpp has written: the members of one JSON object, each value in its original text. Any number of any
// size and any depth are taken (no recursion), since what a row holds was some device's to choose.
#pragma once

#include <pipeline/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace pl {

namespace detail {

// Steps over JSON by the grammar of RFC 8259; whether texts are valid UTF-8 is not looked at.
class json_walk {
 public:
  explicit json_walk(std::string_view text) noexcept : text_(text) {}

  [[nodiscard]] std::size_t here() const noexcept { return at_; }
  [[nodiscard]] std::string_view since(std::size_t begin) const noexcept { return text_.substr(begin, at_ - begin); }
  [[nodiscard]] bool done() const noexcept { return at_ == text_.size(); }

  void space() noexcept {
    while (!done() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take(char c) noexcept {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool string() noexcept {
    if (!take('"')) return false;
    while (!done()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\' && !escape()) return false;
    }
    return false;
  }
  bool value() {
    std::string open;  // the brackets that are still to come
    while (true) {
      space();
      if (take('{')) {
        space();
        if (!take('}')) {
          if (!key()) return false;
          open.push_back('}');
          continue;
        }
      } else if (take('[')) {
        space();
        if (!take(']')) {
          open.push_back(']');
          continue;
        }
      } else if (!scalar()) {
        return false;
      }
      if (!close(open)) return false;
      if (open.empty()) return true;
    }
  }

 private:
  // What may follow a value: closing brackets, then a comma with what leads to the next value. False: something else.
  bool close(std::string& open) noexcept {
    while (!open.empty()) {
      space();
      if (take(',')) return open.back() == ']' || key();
      if (!take(open.back())) return false;
      open.pop_back();
    }
    return true;
  }
  bool key() noexcept {
    space();
    if (!string()) return false;
    space();
    return take(':');
  }
  bool scalar() noexcept {
    if (done()) return false;
    if (text_[at_] == '"') return string();
    for (const std::string_view word : {"true", "false", "null"})
      if (text_.substr(at_).starts_with(word)) return at_ += word.size(), true;
    return number();
  }
  bool number() noexcept {
    (void)take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (!take('e') && !take('E')) return true;
    if (!take('+')) (void)take('-');
    return digits();
  }
  bool digits() noexcept {
    const auto begin = at_;
    while (!done() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ != begin;
  }
  bool escape() noexcept {
    if (done()) return false;
    const char c = text_[at_++];
    if (c != 'u') return std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos;
    for (int i = 0; i < 4; ++i, ++at_)
      if (done() || std::string_view("0123456789abcdefABCDEF").find(text_[at_]) == std::string_view::npos) return false;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

inline unsigned json_hex(std::string_view four) noexcept {
  unsigned value = 0;
  for (const char c : four) value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  return value;
}

inline void append_code_point(std::string& out, unsigned code) {
  const auto put = [&](unsigned byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6U);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12U);
    put(0x80 | (code >> 6U & 0x3FU));
  } else {
    put(0xF0 | code >> 18U);
    put(0x80 | (code >> 12U & 0x3FU));
    put(0x80 | (code >> 6U & 0x3FU));
  }
  put(0x80 | (code & 0x3FU));
}

// The \uXXXX at text[at], with its other half where it is one of a pair; `at` ends behind it. Half a pair is none.
inline bool append_unicode_escape(std::string& out, std::string_view text, std::size_t& at) {
  auto code = json_hex(text.substr(at + 2, 4));
  at += 6;
  if (code >= 0xDC00 && code <= 0xDFFF) return false;
  if (code >= 0xD800 && code <= 0xDBFF) {
    if (!text.substr(at).starts_with("\\u")) return false;
    const auto low = json_hex(text.substr(at + 2, 4));
    if (low < 0xDC00 || low > 0xDFFF) return false;
    code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
    at += 6;
  }
  append_code_point(out, code);
  return true;
}

}  // namespace detail

// Whether it is one JSON value and nothing else.
[[nodiscard]] inline bool is_json(std::string_view text) {
  detail::json_walk walk(text);
  if (!walk.value()) return false;
  walk.space();
  return walk.done();
}

// What a JSON string means: `raw` as each_json_member gives it, with its quotes. Nothing where it is no string, or has half
// of a surrogate pair.
[[nodiscard]] inline std::optional<std::string> json_text(std::string_view raw) {
  static constexpr std::string_view letters = "bfnrt", meant = "\b\f\n\r\t";
  if (detail::json_walk walk(raw); !walk.string() || !walk.done()) return std::nullopt;
  const auto text = raw.substr(1, raw.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out.push_back(text[i++]);
    } else if (text[i + 1] == 'u') {
      if (!detail::append_unicode_escape(out, text, i)) return std::nullopt;
    } else {
      const auto at = letters.find(text[i + 1]);
      out.push_back(at == std::string_view::npos ? text[i + 1] : meant[at]);
      i += 2;
    }
  }
  return out;
}

// take(key, value): both in their original text, the key with its quotes. False where the text is no JSON object; then some
// members may have been taken.
template <class Take>
[[nodiscard]] bool each_json_member(std::string_view object, Take&& take) {
  detail::json_walk walk(object);
  walk.space();
  if (!walk.take('{')) return false;
  walk.space();
  if (!walk.take('}')) {
    do {
      walk.space();
      const auto key_at = walk.here();
      if (!walk.string()) return false;
      const auto key = walk.since(key_at);
      walk.space();
      if (!walk.take(':')) return false;
      walk.space();
      const auto value_at = walk.here();
      if (!walk.value()) return false;
      take(key, walk.since(value_at));
      walk.space();
    } while (walk.take(','));
    if (!walk.take('}')) return false;
  }
  walk.space();
  return walk.done();
}

}  // namespace pl
