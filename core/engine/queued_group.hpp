// SPDX-License-Identifier: Apache-2.0
// Batches that must be written together, as a queue holds them: in memory, or on disk. One thread.
#pragma once

#include "engine/disk_queue.hpp"
#include "engine/record_batch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

namespace pl::engine {

struct queue_amount {
  std::uint64_t groups = 0, rows = 0, bytes = 0;  // bytes: of memory
  std::uint64_t write_bytes = 0;                  // size in a write: record_batch::write_bytes
};

struct queued_group {
  explicit queued_group(batch_refs data) : batches(std::move(data)), arrived(std::chrono::steady_clock::now()) {
    for (const auto& b : batches) {
      if (b->nsel == 0) continue;  // a position-only batch shares the memory that the others count
      size.rows += b->nsel;
      size.bytes += b->footprint();
      size.write_bytes += b->write_bytes();
    }
    // Without others, it keeps the source batch in memory alone.
    if (size.rows == 0 && !batches.empty()) size.bytes = batches.front()->footprint();
  }
  [[nodiscard]] bool on_disk() const noexcept { return static_cast<bool>(stored); }
  // Return what the group takes of the queue now; `size` is what it takes once it is in memory.
  [[nodiscard]] queue_amount queued() const noexcept {
    return {size.groups, size.rows, on_disk() ? 0 : size.bytes, size.write_bytes};
  }
  // Return what the batches will take once they are read from disk: at least a block of memory for each.
  [[nodiscard]] std::uint64_t loaded_bytes() const {
    std::uint64_t bytes = block_pool::small_block;
    for (const auto& b : batches) bytes += std::max<std::uint64_t>(block_pool::small_block, b->write_bytes());
    return bytes;
  }
  // Return whether a stream of these records is read again, so that they must not be written.
  [[nodiscard]] bool lost() const noexcept {
    if (on_disk()) return stored.lost();
    const auto awaited = [](const auto& b) { return b->awaited(); };
    return std::ranges::any_of(batches, [](const auto& b) { return b->lost(); }) &&
           std::ranges::none_of(batches, awaited);
  }
  // Take a group of the same lane that was queued after this one. Both are on disk.
  void append(queued_group later) {
    stored.append(std::move(later.stored));
    size.groups += later.size.groups;
    size.rows += later.size.rows;
    size.bytes += later.size.bytes;
    size.write_bytes += later.size.write_bytes;
  }
  void mark_lost() noexcept {
    stored.mark_lost();
    for (const auto& b : batches) b->mark_lost();
  }
  // Nothing of it is written, and its records count as delivered.
  void settle() noexcept {
    stored.settle();
    batches.clear();
  }
  void mark_undelivered() noexcept {
    stored.drop();
    for (const auto& b : batches) b->mark_undelivered();
  }

  batch_refs batches;
  stored_group stored;
  queue_amount size{1, 0, 0, 0};
  std::chrono::steady_clock::time_point arrived;
};

}  // namespace pl::engine
