// SPDX-License-Identifier: Apache-2.0
// The columns of the current batch, and one of its records.
#pragma once

#include "state.hpp"

#include <pipeline/batch.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace threshold_alert {

constexpr std::uint32_t no_row = UINT32_MAX;

// Indexes of the columns in one schema.
struct column_places {
  pl::column_index time = 0;
  std::vector<pl::column_index> keys;                   // one for each group_by
  std::vector<std::optional<pl::column_index>> metric;  // one for each rule
};

// Pointers to the cells of the columns. Reused between batches to avoid allocations.
struct batch_columns {
  const pl::cell* time = nullptr;
  std::vector<const pl::cell*> keys;                // one for each group_by
  std::vector<const pl::cell*> metric;              // one for each rule; null: not in this batch
  std::span<const std::vector<pl::cell>> computed;  // one for each expression of the rules

  void set(pl::batch_view in, const column_places& at, std::span<const std::vector<pl::cell>> expressions) {
    computed = expressions;
    time = in.column(at.time).data();
    keys.clear();
    for (const auto c : at.keys) keys.push_back(in.column(c).data());
    metric.clear();
    for (const auto& c : at.metric) metric.push_back(c ? in.column(*c).data() : nullptr);
  }
};

struct record {
  std::uint32_t row = no_row;  // no_row: a timer of the stream caused the event
  std::int64_t time = never;
  std::uint64_t position = PL_UNKNOWN;
  std::string_view stream;       // points into the batch
  std::int64_t arrival = never;  // reading of the stream's arrival clock
};

}  // namespace threshold_alert
