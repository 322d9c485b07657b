// SPDX-License-Identifier: Apache-2.0
#include "path_pattern.hpp"

#include <algorithm>

namespace json {

pl::result<path_pattern> path_pattern::parse(std::string_view source, const field_finder& find_field) {
  path_pattern p;
  std::string literal;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '}') return pl::fatal("'}' at character " + std::to_string(i + 1) + " has no '{' before it");
    if (source[i] != '{') {
      literal.push_back(source[i]);
      continue;
    }
    const auto close = source.find('}', i);
    if (close == std::string_view::npos)
      return pl::fatal("'{' at character " + std::to_string(i + 1) + " is not closed");
    if (literal.empty() && !p.pieces_.empty())
      return pl::fatal("two placeholders without a character between them: it would be ambiguous where the first ends");
    const auto name = source.substr(i + 1, close - i - 1);
    const auto field = name.empty() ? std::nullopt : find_field(name);
    if (!name.empty() && !field)
      return pl::fatal("'" + std::string(name) + "' is not a column of type text; add it to ids, or to columns");
    if (field) {
      if (std::find(p.fields_.begin(), p.fields_.end(), *field) != p.fields_.end())
        return pl::fatal("{" + std::string(name) + "} occurs twice");
      p.fields_.push_back(*field);
    }
    p.pieces_.push_back({std::exchange(literal, {}), field});
    i = close;
  }
  if (p.fields_.empty())
    return pl::fatal("the pattern contains no {column}; an example: users/{user_id}/devices/{device_id}");
  p.tail_ = std::move(literal);
  return p;
}

std::size_t path_pattern::end_of_value(std::string_view rest, std::string_view next, bool is_last) noexcept {
  const auto slash = std::min(rest.find('/'), rest.size());
  if (!next.empty()) {
    // The last placeholder is greedy, so that "{id}-telemetry" matches "a-telemetry-telemetry".
    if (is_last)
      return rest.ends_with(next) ? std::max(rest.size() - next.size(), std::size_t{1}) : std::string_view::npos;
    return rest.find(next, 1);
  }
  return slash;
}

bool path_pattern::match(std::string_view subject, std::span<std::string_view> values) const noexcept {
  // Two passes: `values` must not change unless the whole subject matches.
  for (const bool write : {false, true}) {
    auto rest = subject;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const auto& [literal, field] = pieces_[i];
      if (!rest.starts_with(literal)) return false;
      rest.remove_prefix(literal.size());
      const bool is_last = i + 1 == pieces_.size();
      const auto end = end_of_value(rest, is_last ? tail_ : pieces_[i + 1].literal, is_last);
      if (end == std::string_view::npos || end == 0 || end > rest.size()) return false;
      const auto value = rest.substr(0, end);
      if (value.find('/') != std::string_view::npos) return false;
      if (write && field) values[*field] = value;
      rest.remove_prefix(end);
    }
    if (rest != tail_) return false;
  }
  return true;
}

}  // namespace json
