// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "field_values.hpp"

#include <cstring>
#include <string_view>
#include <vector>

namespace json_telemetry {

// extra_writer collects unmapped fields into one JSON object: keys and values in their original text, inside their
// original parent objects. A parent object is written only if it contains an unmapped field.
class extra_writer {
 public:
  explicit extra_writer(bool strip_nul) : strip_nul_(strip_nul) {}

  // Start a new object, with fields of a document of this size. `members` come first: the inside of an object, without its
  // braces.
  void begin(std::string_view members, std::size_t document) {
    // Everything that is written is in the document, too, except a comma between `members` and the rest.
    const auto most = members.size() + document + 1;
    if (text_.size() < most) text_.resize(most);
    at_ = text_.data();
    put(members);
    levels_.clear();
  }
  void enter(std::string_view raw_key) { levels_.push_back({raw_key, false}); }
  void leave() noexcept {
    if (levels_.back().written) *at_++ = '}';
    levels_.pop_back();
  }
  void member(std::string_view raw_key, const json_value& value) noexcept {
    for (auto& level : levels_) {
      if (level.written) continue;
      put_key(level.raw_key);
      *at_++ = '{';
      level.written = true;
    }
    put_key(raw_key);
    if (strip_nul_ && value.has_nul)
      at_ = write_without_nul(at_, value.raw);
    else
      put(value.raw);
  }
  // Return the members without the enclosing braces.
  [[nodiscard]] std::string_view members() const noexcept {
    return {text_.data(), static_cast<std::size_t>(at_ - text_.data())};
  }

 private:
  struct open_object {
    std::string_view raw_key;
    bool written;
  };
  void put(std::string_view text) noexcept {
    if (text.empty()) return;
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void put_key(std::string_view raw_key) noexcept {
    if (at_ != text_.data() && at_[-1] != '{') *at_++ = ',';
    if (strip_nul_)
      at_ = write_without_nul(at_, raw_key);
    else
      put(raw_key);
    *at_++ = ':';
  }
  bool strip_nul_;
  std::vector<char> text_;  // its first part is used
  char* at_ = text_.data();
  std::vector<open_object> levels_;
};

}  // namespace json_telemetry
