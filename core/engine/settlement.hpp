// SPDX-License-Identifier: Apache-2.0
// The records of one source batch that are in flight. The batch holds the settlement, and so does each part of it that a
// queue keeps on disk without the batch: the ranges are reported once the last holder is gone. Any thread.
#pragma once

#include "engine/stream_state.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

namespace pl::engine {

class settlement {
 public:
  settlement(settlement_inbox& inbox, std::vector<flight> flights) noexcept
      : inbox_(inbox), flights_(std::move(flights)) {}
  settlement(const settlement&) = delete;
  settlement& operator=(const settlement&) = delete;
  ~settlement() {
    if (batches_ != 0) inbox_.put({std::move(flights_), !undelivered_.load(std::memory_order_relaxed), batches_});
  }

  void mark_undelivered() noexcept { undelivered_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool undelivered() const noexcept { return undelivered_.load(std::memory_order_relaxed); }
  // The lane claims its streams again. It learns this at once, also if other sinks still hold these records.
  void mark_fenced() noexcept {
    mark_undelivered();
    inbox_.put_loss(settlement_inbox::loss::fenced);
  }
  // The streams are read again from these records, or from records before them. Until then, nothing of them may be
  // written, because it would be written before what is missing.
  void mark_lost() noexcept {
    mark_undelivered();
    for (const auto& f : flights_) f.stream->mark_lost();
  }
  // A part was damaged on disk: the lane reads its streams again, as after `mark_fenced`.
  void mark_damaged() noexcept {
    mark_lost();
    inbox_.put_loss(settlement_inbox::loss::damaged);
  }
  // Return whether a stream of these records was revoked since.
  [[nodiscard]] bool revoked() const noexcept {
    return std::ranges::any_of(flights_, [](const auto& f) { return f.stream->revoked(); });
  }
  // Return whether a stream of these records is read again from a position before them.
  [[nodiscard]] bool lost() const noexcept {
    for (const auto& f : flights_)
      if (f.stream->lost()) return true;
    return false;
  }
  [[nodiscard]] bool reports_to(const settlement_inbox& inbox) const noexcept { return &inbox_ == &inbox; }
  // Report the records of a later settlement of the same lane together with these. Nobody else may hold either of them,
  // and nothing of them may be marked. The lane's thread.
  void absorb(settlement& later) {
    flights_.reserve(flights_.size() + later.flights_.size());
    for (auto& f : later.flights_) {
      const auto same = std::ranges::find(flights_.rbegin(), flights_.rend(), f.stream, &flight::stream);
      if (same != flights_.rend() && f.stream->join(same->number, f.number))
        same->number = f.number;
      else
        flights_.push_back(std::move(f));
    }
    later.flights_.clear();
    batches_ += std::exchange(later.batches_, 0);
  }
  // Bytes of memory that this settlement needs, roughly, with what its streams note of it.
  [[nodiscard]] std::size_t footprint() const noexcept {
    return sizeof(*this) + flights_.capacity() * (sizeof(flight) + 3 * sizeof(std::uint64_t)) + 64;
  }

 private:
  settlement_inbox& inbox_;
  std::vector<flight> flights_;
  std::uint64_t batches_ = 1;  // that the source read; 0: absorbed
  std::atomic<bool> undelivered_{false};
};

}  // namespace pl::engine
