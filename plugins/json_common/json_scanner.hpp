// SPDX-License-Identifier: Apache-2.0
// A pull scanner for JSON (RFC 8259) that returns views into the document. RapidJSON does not fit: it rejects 1e400 and
// integers of 400 digits even as raw text, accepts a lone \uDC00 and needs a copy of each payload. The tests and the
// fuzz target compare the scanner with it. docs/decisions/0006-libraries.md has the requirements.
#pragma once

#include "decimal.hpp"
#include "key_memory.hpp"
#include "plain_text.hpp"
#include "text_arena.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace json {

enum class json_kind : std::uint8_t { null, boolean, number, string, object, array };

struct json_value {
  std::string_view raw;  // original text; strings with their quotes
  json_kind kind = json_kind::null;
  bool escaped = false;  // a string that contains escapes
  bool has_nul = false;  // the value contains \u0000 at any depth
  decimal number;        // valid if kind is number
};

// Return the characters of a string between its quotes. Escapes are resolved into `arena`; a string without escapes is
// returned as a view into the document.
[[nodiscard]] std::string_view text_of(const json_value& text, text_arena& arena);

struct json_key {
  std::string_view text;  // without quotes and escapes
  std::string_view raw;   // original text, with quotes
  bool has_nul = false;
  key_memory::note* note = nullptr;  // null: the key is not in the scanner's memory
};

struct scan_limits {
  std::uint32_t max_depth = 32;   // nesting of objects and arrays
  std::uint32_t max_keys = 1000;  // counted from the last begin or allow_keys
  bool unique_keys = true;
  bool decode_keys = true;  // false: json_key::text keeps its escapes, and the scan allocates nothing
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
  // `memory`: null, or where to remember the keys of the documents, for a scanner that reads many.
  json_scanner(const scan_limits& limits, text_arena& arena, key_memory* memory = nullptr)
      : limits_(limits), arena_(&arena), memory_(memory) {}

  // Start a document at its first character that is not white space.
  void begin(std::string_view document) noexcept {
    begin_ = at_ = document.data();
    end_ = begin_ + document.size();
    depth_ = 0;
    keys_.clear();
    allow_keys();
    if (memory_ != nullptr) memory_->begin_document();
    error_ = scan_error::none;
    skip_space();
  }
  // Start counting keys anew, for a new record inside the document.
  void allow_keys() noexcept { keys_left_ = limits_.max_keys; }
  // Lift max_keys until restore_key_count, for a value that is scanned only to find its end.
  void allow_any_number_of_keys() noexcept { keys_left_ = UINT64_MAX; }

  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  // Return the next character, or NUL at the end. A NUL in the document is invalid everywhere, too.
  [[nodiscard]] char peek() const noexcept { return at_ == end_ ? '\0' : *at_; }
  // Check that only white space follows.
  [[nodiscard]] bool finish() noexcept {
    skip_space();
    return at_ == end_ || fail(scan_error::more_than_one_document);
  }

  // A saved place in the document, for returning to a value at the same depth.
  struct mark {
    const char* at;
    std::uint64_t keys_left;
    key_memory::place next_key;
  };
  [[nodiscard]] mark here() const noexcept {
    return {at_, keys_left_, memory_ == nullptr ? key_memory::place{} : memory_->here()};
  }
  void go_back(const mark& to) noexcept {
    at_ = to.at;
    keys_left_ = to.keys_left;
    if (memory_ != nullptr) memory_->go_back(to.next_key);
  }
  void restore_key_count(const mark& saved) noexcept { keys_left_ = saved.keys_left; }

  // Scan the object that begins here. on_member(const json_key&) scans the member's value; false means an error.
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

  // Scan the array that begins here. on_element(index) scans one element; false means an error.
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

  // Scan and fully validate the value that begins here.
  [[nodiscard, gnu::always_inline]] inline bool value(json_value& to) {
    to.escaped = to.has_nul = false;
    const char next = peek();
    if (next == '"') return scan_text(to);
    if (next == '-' || (next >= '0' && next <= '9')) return scan_number(to);
    return scan_other(to);
  }

  // Check this key of the current object for duplicates, if the caller does not do so itself.
  void watch(const json_key& key) {
    if (limits_.unique_keys) keys_.push_back(key.text);
  }
  // End the scan at a key that its object already contains.
  [[nodiscard]] bool fail_duplicate(const json_key& key) noexcept {
    duplicate_ = key.text;
    return fail(scan_error::duplicate_key);
  }

  [[nodiscard]] scan_error error() const noexcept { return error_; }
  // Return the current offset in bytes; after an error, its place.
  [[nodiscard]] std::size_t offset() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  // Return the error as a sentence with its place.
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
    auto* const known = memory_ == nullptr ? nullptr : memory_->match(at_, end_);
    if (known == nullptr) return scan_unknown_key(key);
    if (keys_left_-- == 0) return fail(scan_error::too_many_keys);
    const std::size_t length = known->length;  // with the quotes and the colon
    key.raw = {at_, length - 1};
    key.text = {at_ + 1, length - 3};
    key.note = &known->about;
    at_ += length;
    skip_space();
    return true;
  }

  // Scan the string whose opening quote is here.
  bool scan_text(json_value& to) {
    const char* const first = at_++;
    to.kind = json_kind::string;
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

  bool scan_unknown_key(json_key& key);
  bool scan_other(json_value& to);    // neither string nor number
  bool scan_unusual(json_value& to);  // one escape or one non-ASCII character
  bool scan_escape(json_value& to);
  bool scan_unicode_escape(json_value& to);
  bool scan_hex(unsigned& to) noexcept;
  bool scan_word(std::string_view word, json_kind kind, json_value& to) noexcept;
  bool scan_object(json_value& to);
  bool scan_array(json_value& to);
  bool distinct(std::size_t first_key);
  std::optional<std::size_t> find_twice(std::span<const std::string_view> keys);

  scan_limits limits_;
  text_arena* arena_;
  key_memory* memory_;
  const char* begin_ = nullptr;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::uint64_t keys_left_ = 0;
  std::uint32_t depth_ = 0;
  scan_error error_ = scan_error::none;
  std::string_view duplicate_;
  std::vector<std::string_view> keys_;  // keys to check for duplicates, of all open objects
  std::vector<std::uint32_t> places_;   // a hash table, see find_twice
};

}  // namespace json
