// SPDX-License-Identifier: Apache-2.0
// Formatting of numbers and names in messages for users.
#pragma once

#include <pipeline/text.hpp>

#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace threshold_alert {

// Return the shortest text that parses to the same number.
[[nodiscard]] inline std::string number_text(double v) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), v).ptr};
}

// Return "; did you mean 'temperature'?" if a known name is similar, else "; valid names: a, b, c".
[[nodiscard]] inline std::string suggestion(std::string_view wrong, const std::vector<std::string>& known) {
  if (known.empty()) return "; no names are defined";
  if (auto guess = pl::did_you_mean(wrong, known, "; "); !guess.empty()) return guess;
  std::string all = "; valid names: ";
  for (const auto& name : known) all.append(&name == &known.front() ? "" : ", ").append(name);
  return all;
}

}  // namespace threshold_alert
