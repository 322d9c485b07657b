// SPDX-License-Identifier: Apache-2.0
// Numbers and names for messages to people.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace threshold_alert {

// The shortest text that reads back as the same number.
[[nodiscard]] inline std::string number_text(double v) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), v).ptr};
}

[[nodiscard]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// "; did you mean 'temperature'?" where a name is near enough to be meant, else "; there are: a, b, c".
[[nodiscard]] inline std::string suggestion(std::string_view wrong, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return edit_distance(wrong, a) < edit_distance(wrong, b);
  });
  if (nearest == known.end()) return "; there are none";
  if (edit_distance(wrong, *nearest) <= std::max<std::size_t>(2, wrong.size() / 3))
    return "; did you mean '" + *nearest + "'?";
  std::string all = "; there are: ";
  for (const auto& name : known) all.append(&name == &known.front() ? "" : ", ").append(name);
  return all;
}

}  // namespace threshold_alert
