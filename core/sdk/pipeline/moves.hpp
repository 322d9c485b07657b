// SPDX-License-Identifier: Apache-2.0
// For sinks that keep positions (position_store): the positions that a write moves.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/component.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl {

struct stream_move {
  std::string source, stream;
  std::uint64_t first, next, epoch;
  bool operator==(const stream_move&) const = default;
};

// Return one move for each source and stream, from the ranges that have an epoch. Return std::nullopt if the batches of
// a stream were read under different claims or are not contiguous: such batches cannot be one write.
[[nodiscard]] inline std::optional<std::vector<stream_move>> moves_of(const batch_list& batches) {
  std::map<std::pair<std::string_view, std::string_view>, stream_move> by_stream;
  for (const auto batch : batches)
    for (const auto& r : batch.ranges()) {
      if (r.epoch == 0) continue;
      const std::pair id{view(r.source), view(r.stream)};
      const auto [at, fresh] = by_stream.try_emplace(
          id, stream_move{std::string(id.first), std::string(id.second), r.first, r.next, r.epoch});
      if (fresh) continue;
      auto& m = at->second;
      if (m.epoch != r.epoch || r.first > m.next) return std::nullopt;
      m.next = std::max(m.next, r.next);
    }
  std::vector<stream_move> moves;
  moves.reserve(by_stream.size());
  for (auto& [id, m] : by_stream) moves.push_back(std::move(m));
  return moves;
}

}  // namespace pl
