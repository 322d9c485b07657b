// SPDX-License-Identifier: Apache-2.0
// Patterns for ids: * matches any text, ? one byte, [a-f] a byte of a set, [!a-f] a byte outside the set; | separates
// alternatives, \ escapes the next byte.
#pragma once

#include <pipeline/result.hpp>

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

class glob {
 public:
  static pl::result<glob> parse(std::string_view pattern) {
    glob g;
    g.alternatives_.emplace_back();
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      const char c = pattern[i];
      auto& to = g.alternatives_.back();
      if (c == '|') {
        g.alternatives_.emplace_back();
      } else if (c == '*') {
        to.push_back({{}, true});
      } else if (c == '?') {
        to.push_back({set{}.set(), false});
      } else if (c == '[') {
        const auto at = i;
        if (!parse_set(pattern, i, to.emplace_back().bytes))
          return pl::fatal("'[' at character " + std::to_string(at + 1) +
                           " is not closed by ']'; write \\[ for a bracket");
      } else {
        if (c == '\\' && ++i == pattern.size())
          return pl::fatal("'\\' at the end escapes nothing; write \\\\ for a backslash");
        to.push_back({set{}.set(static_cast<unsigned char>(pattern[i])), false});
      }
    }
    return g;
  }

  [[nodiscard]] bool matches(std::string_view text) const {
    for (const auto& a : alternatives_)
      if (matches(a, text)) return true;
    return false;
  }

 private:
  using set = std::bitset<256>;
  struct piece {
    set bytes;
    bool any = false;  // *
  };
  using pieces = std::vector<piece>;

  static bool parse_set(std::string_view p, std::size_t& i, set& to) {
    const bool negated = ++i < p.size() && (p[i] == '!' || p[i] == '^');
    if (negated) ++i;
    for (bool first = true; i < p.size() && (first || p[i] != ']'); ++i, first = false) {
      const auto low = static_cast<unsigned char>(p[i]);
      auto high = low;
      if (i + 2 < p.size() && p[i + 1] == '-' && p[i + 2] != ']') high = static_cast<unsigned char>(p[i += 2]);
      for (unsigned b = low; b <= high; ++b) to.set(b);
    }
    if (negated) to.flip();
    return i < p.size();
  }

  // Backtrack only to the last *: linear in practice, at worst proportional to pattern length times text length.
  static bool matches(const pieces& p, std::string_view text) {
    std::size_t at = 0, star = p.size(), resume = 0;
    std::size_t i = 0;
    while (at < text.size()) {
      if (i < p.size() && p[i].any) {
        star = i++;
        resume = at;
      } else if (i < p.size() && p[i].bytes.test(static_cast<unsigned char>(text[at]))) {
        ++i, ++at;
      } else if (star != p.size()) {
        i = star + 1;
        at = ++resume;
      } else {
        return false;
      }
    }
    while (i < p.size() && p[i].any) ++i;
    return i == p.size();
  }

  std::vector<pieces> alternatives_;
};

}  // namespace threshold_alert
