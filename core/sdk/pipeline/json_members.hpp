// SPDX-License-Identifier: Apache-2.0
// Reads the output of json.hpp: the members of one JSON object or array, with each value in its original text. Number, size and
// depth of the values are not limited, because devices choose them; the parser does not recurse.
#pragma once

#include <pipeline/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace pl {

namespace detail {

// Skips JSON values by the grammar of RFC 8259. Does not check that strings are valid UTF-8.
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
    std::string open;  // the closing brackets that must follow
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
  // Skip what may follow a value: closing brackets, then a comma and the next key. Return false for anything else.
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
      if (done() || hex_value(text_[at_]) < 0) return false;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// Append the character of the \uXXXX escape (or surrogate pair) at text[at] and move `at` past it. Return false for an
// unpaired surrogate.
inline bool append_unicode_escape(std::string& out, std::string_view text, std::size_t& at) {
  auto code = hex_number(text.substr(at + 2, 4));
  at += 6;
  if (code >= 0xDC00 && code <= 0xDFFF) return false;
  if (code >= 0xD800 && code <= 0xDBFF) {
    if (!text.substr(at).starts_with("\\u")) return false;
    const auto low = hex_number(text.substr(at + 2, 4));
    if (low < 0xDC00 || low > 0xDFFF) return false;
    code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
    at += 6;
  }
  append_code_point(out, code);
  return true;
}

}  // namespace detail

// Return whether the text is exactly one JSON value.
[[nodiscard]] inline bool is_json(std::string_view text) {
  detail::json_walk walk(text);
  if (!walk.value()) return false;
  walk.space();
  return walk.done();
}

// Decode a JSON string. raw: with its quotes, as each_json_member passes it. Return std::nullopt if the text is not a
// string or contains an unpaired surrogate.
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

// Call take(key, value) for each member, both in their original text, the key with its quotes. Return false if the text
// is not a JSON object; `take` may have been called for some members then.
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

// Call take(value) for each element of a JSON array, in its original text. Return false if the text is not a JSON array;
// `take` may have been called for some elements then.
template <class Take>
[[nodiscard]] bool each_json_element(std::string_view array, Take&& take) {
  detail::json_walk walk(array);
  walk.space();
  if (!walk.take('[')) return false;
  walk.space();
  if (!walk.take(']')) {
    do {
      walk.space();
      const auto value_at = walk.here();
      if (!walk.value()) return false;
      take(walk.since(value_at));
      walk.space();
    } while (walk.take(','));
    if (!walk.take(']')) return false;
  }
  walk.space();
  return walk.done();
}

}  // namespace pl
