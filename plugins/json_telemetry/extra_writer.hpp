// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "field_values.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace json_telemetry {

// Gathers what no column took into one JSON object: keys and values in their original text, inside of the objects that
// they were in. Those are only written once something is left in them.
class extra_writer {
 public:
  explicit extra_writer(bool strip_nul) : strip_nul_(strip_nul) {}

  // Members that come first: an object's inside, without its braces.
  void begin(std::string_view members) {
    text_.clear();
    text_ += members;
    levels_.clear();
  }
  void enter(std::string_view raw_key) { levels_.push_back({raw_key, false}); }
  void leave() {
    if (levels_.back().written) text_.push_back('}');
    levels_.pop_back();
  }
  void member(std::string_view raw_key, const json_value& value) {
    for (auto& level : levels_) {
      if (level.written) continue;
      append_key(level.raw_key);
      text_.push_back('{');
      level.written = true;
    }
    append_key(raw_key);
    if (strip_nul_ && value.has_nul)
      append_without_nul(text_, value.raw);
    else
      text_ += value.raw;
  }
  // The members, without braces around them.
  [[nodiscard]] std::string_view members() const noexcept { return text_; }

 private:
  struct open_object {
    std::string_view raw_key;
    bool written;
  };
  void append_key(std::string_view raw_key) {
    if (!text_.empty() && text_.back() != '{') text_.push_back(',');
    if (strip_nul_)
      append_without_nul(text_, raw_key);
    else
      text_ += raw_key;
    text_.push_back(':');
  }
  bool strip_nul_;
  std::string text_;
  std::vector<open_object> levels_;
};

}  // namespace json_telemetry
