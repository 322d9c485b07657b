// SPDX-License-Identifier: Apache-2.0
#include "config/scalar_position.hpp"

#include <algorithm>
#include <string_view>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

// Walks over a scalar as it is written, and counts the bytes of its text.
class scalar_walk {
 public:
  explicit scalar_walk(std::string_view written) noexcept : written_(written) {}

  // Return the place in the written scalar of byte `offset` of the text.
  std::size_t find(std::size_t offset) noexcept {
    const char first = written_.empty() ? '\0' : written_[0];
    if (first == '|' || first == '>') return in_block(offset, first == '>');
    quote_ = first == '"' || first == '\'' ? first : '\0';
    at_ = quote_ == '\0' ? 0 : 1;
    while (text_ < offset && at_ < written_.size()) step();
    return at_;
  }

 private:
  void count(std::size_t written, std::size_t text) noexcept {
    at_ += written;
    text_ += text;
  }
  void step() noexcept {
    const char c = written_[at_];
    if (c == '\n' || c == '\r') return fold();
    if (quote_ == '\'' && c == '\'') return count(2, 1);
    if (quote_ == '"' && c == '\\') return escape();
    count(1, 1);
  }
  // A line break and the spaces around it are one space; each further line break is itself.
  void fold() noexcept {
    const auto end = std::min(written_.find_first_not_of(" \t\r\n", at_), written_.size());
    const auto breaks = static_cast<std::size_t>(std::count(written_.begin() + static_cast<std::ptrdiff_t>(at_),
                                                            written_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    count(end - at_, std::max<std::size_t>(1, breaks - std::min<std::size_t>(breaks, 1)));
  }
  void escape() noexcept {
    const char c = at_ + 1 < written_.size() ? written_[at_ + 1] : '\0';
    if (c == '\n') {  // continues the line
      const auto end = std::min(written_.find_first_not_of(" \t", at_ + 2), written_.size());
      return count(end - at_, 0);
    }
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    count(2 + digits, digits == 4 ? 3 : digits == 8 ? 4 : 1);  // the bytes of most characters that are written so
  }
  // Block scalars: `|` keeps line breaks, `>` folds single ones to spaces. The first line decides about the indentation.
  std::size_t in_block(std::size_t offset, bool folded) noexcept {
    at_ = std::min(written_.find('\n'), written_.size());
    at_ += at_ < written_.size() ? 1 : 0;
    const auto indented = std::min(written_.find_first_not_of(" \n", at_), written_.size());
    const auto line = written_.rfind('\n', indented == 0 ? 0 : indented - 1);
    const auto indent = indented - (line == npos ? 0 : line + 1);
    const auto skip_indent = [&] {
      for (std::size_t i = 0; i < indent && at_ < written_.size() && written_[at_] == ' '; ++i) ++at_;
    };
    skip_indent();
    while (text_ < offset && at_ < written_.size()) {
      const bool line_break = written_[at_] == '\n';
      const bool blank_follows = folded && line_break && at_ + 1 < written_.size() && written_[at_ + 1] == '\n';
      count(1, blank_follows ? 0 : 1);
      if (line_break) skip_indent();
    }
    return at_;
  }

  std::string_view written_;
  char quote_ = '\0';
  std::size_t at_ = 0, text_ = 0;
};

}  // namespace

location position_in_scalar(const location& scalar, std::size_t offset) {
  if (!scalar.exact() || scalar.length() == 0) return scalar;
  const auto written = scalar.source()->text().substr(scalar.offset(), scalar.length());
  if (written.find("${") != npos) return scalar;
  const auto at = std::min(scalar_walk(written).find(offset), written.size() - 1);
  return {scalar.source(), scalar.offset() + at, 1};
}

}  // namespace pl::config
