// SPDX-License-Identifier: Apache-2.0
// Regular expressions in RE2's syntax, which match in time linear in the text. Their size and memory are limited.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace pl::cel {

// A compiled regular expression; may be used by several threads.
class pattern {
 public:
  explicit pattern(std::string_view text);
  ~pattern();
  pattern(const pattern&) = delete;
  pattern& operator=(const pattern&) = delete;

  [[nodiscard]] const std::string& mistake() const noexcept { return mistake_; }  // empty: none
  // Return whether a part of the text matches. There must be no mistake.
  [[nodiscard]] bool matches(std::string_view text) const;

 private:
  std::unique_ptr<re2::RE2> compiled_;
  std::string mistake_;
};

// The patterns that were used last, for patterns that are not constants. One thread at a time.
class pattern_cache {
 public:
  [[nodiscard]] const pattern& find(std::string_view text);

 private:
  struct entry {
    std::string text;
    std::unique_ptr<pattern> compiled;
  };
  std::vector<entry> entries_;
  std::size_t next_ = 0;  // the entry that is replaced next
};

}  // namespace pl::cel
