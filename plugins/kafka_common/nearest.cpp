// SPDX-License-Identifier: Apache-2.0
#include <kafka_common/nearest.hpp>

#include <algorithm>
#include <numeric>
#include <vector>

namespace kafka {

namespace {

// Edits (insert, remove, replace) that make one word of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string> candidates) {
  std::optional<std::string_view> best;
  auto best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    // "linger" for "linger.ms": the beginning of a name says more than how much of it is missing.
    const bool begins = word.size() >= 4 && candidate.starts_with(word);
    const auto d = begins ? 1 : distance(word, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  const auto near = nearest(word, candidates);
  return near ? "; did you mean '" + std::string(*near) + "'?" : std::string{};
}

}  // namespace kafka
