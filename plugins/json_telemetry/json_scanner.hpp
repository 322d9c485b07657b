// SPDX-License-Identifier: Apache-2.0
// A pull scanner for JSON (RFC 8259) that answers slices of the document instead of copies.
//
// Why not a library: `extra` promises the very text of what isn't mapped, and numbers go to columns or are refused
// without having been rounded before anybody looked. RapidJSON (SAX, in place) refuses 1e400 and integers of 400 digits
// even as raw text, lets a lone \uDC00 through and needs a copy of each payload. The tests and the fuzz target keep it
// as a referee.
#pragma once

#include "decimal.hpp"
#include "text_arena.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

enum class json_kind : std::uint8_t { null, boolean, number, text, object, array };

struct json_value {
  std::string_view raw;  // as written; texts with their quotes
  json_kind kind = json_kind::null;
  bool escaped = false;  // a text with escapes
  bool has_nul = false;  // \u0000 somewhere inside
  decimal number;        // if it is one
};

// The characters of a text between its quotes. Escapes are resolved into `arena`; text without any is a view.
[[nodiscard]] std::string_view text_of(const json_value& text, text_arena& arena);

struct json_key {
  std::string_view text;  // without escapes
  std::string_view raw;   // as written, with quotes
  bool has_nul = false;
};

struct scan_limits {
  std::uint32_t max_depth = 32;   // objects and arrays inside each other
  std::uint32_t max_keys = 1000;  // since the last begin or allow_keys
  bool unique_keys = true;
};

enum class scan_error : std::uint8_t {
  none,
  unexpected_end,
  expected_value,
  expected_key,
  expected_colon,
  expected_comma_or_brace,
  expected_comma_or_bracket,
  bad_number,
  control_character,
  invalid_utf8,
  bad_escape,
  lone_surrogate,
  more_than_one_document,
  too_deep,
  too_many_keys,
  duplicate_key
};

class json_scanner {
 public:
  json_scanner(const scan_limits& limits, text_arena& arena) : limits_(limits), arena_(&arena) {}

  // Goes to the first character that isn't space.
  void begin(std::string_view document) noexcept {
    begin_ = at_ = document.data();
    end_ = begin_ + document.size();
    depth_ = 0;
    keys_.clear();
    allow_keys();
    error_ = scan_error::none;
    skip_space();
  }
  // A new record inside of the document: it may have max_keys of its own.
  void allow_keys() noexcept { keys_left_ = limits_.max_keys; }
  // For what is scanned only to find its end: until forget_keys_since.
  void allow_any_number_of_keys() noexcept { keys_left_ = UINT64_MAX; }

  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  // The next character; NUL at the end (a NUL in the document fits nowhere either).
  [[nodiscard]] char peek() const noexcept { return at_ == end_ ? '\0' : *at_; }
  // Nothing but space may follow.
  [[nodiscard]] bool finish() noexcept {
    skip_space();
    return at_ == end_ || fail(scan_error::more_than_one_document);
  }

  // To come back to a value that was scanned before, at the same depth.
  struct mark {
    const char* at;
    std::uint64_t keys_left;
  };
  [[nodiscard]] mark here() const noexcept { return {at_, keys_left_}; }
  void go_back(const mark& to) noexcept {
    at_ = to.at;
    keys_left_ = to.keys_left;
  }
  void forget_keys_since(const mark& then) noexcept { keys_left_ = then.keys_left; }

  // The object that begins here. on_member(const json_key&) scans the member's value and answers whether it could.
  template <class OnMember>
  [[nodiscard]] bool object(OnMember&& on_member) {
    const auto first_key = keys_.size();
    if (!enter()) return false;
    if (peek() == '}') return leave(first_key);
    for (;;) {
      json_key key;
      if (!scan_key(key) || !on_member(key)) return false;
      skip_space();
      if (peek() == '}') return leave(first_key);
      if (peek() != ',') return fail(scan_error::expected_comma_or_brace);
      ++at_;
      skip_space();
    }
  }

  // The array that begins here. on_element(index) scans one element.
  template <class OnElement>
  [[nodiscard]] bool array(OnElement&& on_element) {
    const auto first_key = keys_.size();
    if (!enter()) return false;
    if (peek() == ']') return leave(first_key);
    for (std::uint32_t index = 0;; ++index) {
      if (!on_element(index)) return false;
      skip_space();
      if (peek() == ']') return leave(first_key);
      if (peek() != ',') return fail(scan_error::expected_comma_or_bracket);
      ++at_;
      skip_space();
    }
  }

  // The value that begins here, checked throughout.
  [[nodiscard]] bool value(json_value& to) {
    to.escaped = to.has_nul = false;
    const char next = peek();
    if (next == '"') return scan_text(to);
    if (next == '-' || (next >= '0' && next <= '9')) return scan_number(to);
    return scan_other(to);
  }

  // A key of the object in hand that nobody else watches for doubles.
  void watch(const json_key& key) {
    if (limits_.unique_keys) keys_.push_back(key.text);
  }
  // Ends the scan at a key that its object had before.
  [[nodiscard]] bool fail_duplicate(const json_key& key) noexcept {
    duplicate_ = key.text;
    return fail(scan_error::duplicate_key);
  }

  [[nodiscard]] scan_error error() const noexcept { return error_; }
  // How far the scan has come: where the error is.
  [[nodiscard]] std::size_t offset() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  // The error as a sentence, with the place.
  [[nodiscard]] std::string explain() const;

 private:
  bool fail(scan_error why) noexcept {
    error_ = at_ == end_ && why <= scan_error::lone_surrogate ? scan_error::unexpected_end : why;
    return false;
  }
  void skip_space() noexcept {
    while (at_ != end_ && static_cast<unsigned char>(*at_) <= ' ' && is_space(*at_)) ++at_;
  }
  static bool is_space(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

  bool enter() noexcept {
    if (depth_ == limits_.max_depth) return fail(scan_error::too_deep);
    ++depth_;
    ++at_;
    skip_space();
    return true;
  }
  bool leave(std::size_t first_key) {
    ++at_;
    --depth_;
    if (keys_.size() - first_key > 1 && !distinct(first_key)) return false;
    keys_.resize(first_key);
    return true;
  }

  bool scan_key(json_key& key) {
    if (peek() != '"') return fail(scan_error::expected_key);
    if (keys_left_-- == 0) return fail(scan_error::too_many_keys);
    json_value text;
    if (!scan_text(text)) return false;
    key.raw = text.raw;
    key.has_nul = text.has_nul;
    key.text = text.escaped ? text_of(text, *arena_) : text.raw.substr(1, text.raw.size() - 2);
    skip_space();
    if (peek() != ':') return fail(scan_error::expected_colon);
    ++at_;
    skip_space();
    return true;
  }

  // Position of the first byte from `at` on that ends a run of plain ASCII: quote, backslash, control, not ASCII.
  static const char* end_of_plain(const char* at, const char* end) noexcept {
    if constexpr (std::endian::native == std::endian::little) {
      constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
      while (end - at >= 8) {
        std::uint64_t eight;
        std::memcpy(&eight, at, sizeof eight);
        const auto quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
        // A borrow can mark bytes above the first hit only; the lowest mark is always right.
        const auto hit =
            (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | ((eight - ones * 0x20) & ~eight) | eight) &
            tops;
        if (hit != 0) return at + (std::countr_zero(hit) >> 3);
        at += 8;
      }
    }
    while (at != end) {
      const auto byte = static_cast<unsigned char>(*at);
      if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\') break;
      ++at;
    }
    return at;
  }

  // The text that begins here, at its quote.
  bool scan_text(json_value& to) {
    const char* const first = at_++;
    to.kind = json_kind::text;
    for (;;) {
      at_ = end_of_plain(at_, end_);
      if (at_ == end_) return fail(scan_error::unexpected_end);
      if (*at_ == '"') break;
      if (!scan_unusual(to)) return false;
    }
    ++at_;
    to.raw = {first, static_cast<std::size_t>(at_ - first)};
    return true;
  }

  bool scan_number(json_value& to) noexcept {
    const char* const first = at_;
    to.kind = json_kind::number;
    if (!scan_decimal(at_, end_, to.number)) return fail(scan_error::bad_number);
    to.raw = {first, static_cast<std::size_t>(at_ - first)};
    return true;
  }

  bool scan_other(json_value& to);    // neither text nor number
  bool scan_unusual(json_value& to);  // one escape or one character that isn't ASCII
  bool scan_escape(json_value& to);
  bool scan_unicode_escape(json_value& to);
  bool scan_hex(unsigned& to) noexcept;
  bool scan_word(std::string_view word, json_kind kind, json_value& to) noexcept;
  bool scan_object(json_value& to);
  bool scan_array(json_value& to);
  bool distinct(std::size_t first_key);

  scan_limits limits_;
  text_arena* arena_;
  const char* begin_ = nullptr;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::uint64_t keys_left_ = 0;
  std::uint32_t depth_ = 0;
  scan_error error_ = scan_error::none;
  std::string_view duplicate_;
  std::vector<std::string_view> keys_;  // watched, of all objects that are open
};

}  // namespace json_telemetry
