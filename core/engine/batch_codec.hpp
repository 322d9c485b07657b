// SPDX-License-Identifier: Apache-2.0
// Groups of batches as bytes, for the part of a queue that is on disk. The bytes contain what a sink receives (selected
// rows, positions, arrival times, ranges with their epochs, state changes), and of the original records what a dead letter
// shows. What belongs to the process stays in memory: schemas, and the settlement of each source batch. The bytes are
// therefore of use to this process only.
#pragma once

#include "engine/record_batch.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// Numbers the schemas of encoded batches. Thread-safe.
class schema_numbers {
 public:
  [[nodiscard]] std::uint32_t number_of(const pl_schema* schema);
  [[nodiscard]] const pl_schema* at(std::uint32_t number) const;  // null: unknown

 private:
  mutable std::mutex mutex_;
  std::vector<const pl_schema*> schemas_;
};

using batch_refs = std::vector<batch_ref>;
using settlement_list = std::vector<std::shared_ptr<settlement>>;
using settlement_span = std::span<const std::shared_ptr<settlement>>;

// Return whether a group can be encoded. Some batches must stay as they are: dead letters whose release a writer awaits,
// smaller dead letters that refer to the original one, and rows of a source that has original records but no positions,
// which are found by position.
[[nodiscard]] bool can_encode(const batch_refs& group);
// Return whether a group has rows of such a source. Nothing of it can be encoded, then or later.
[[nodiscard]] bool lacks_positions(const batch_refs& group);
// Append the bytes of a group. Return the settlements of its source batches: decode needs them in the same order.
settlement_list encode(const batch_refs& group, schema_numbers& schemas, std::string& out);
// Return equal batches. Nothing: the bytes are damaged, or memory is exhausted.
[[nodiscard]] std::optional<batch_refs> decode(std::string_view bytes, const schema_numbers& schemas,
                                               settlement_span settlements, block_pool& pool);

}  // namespace pl::engine
