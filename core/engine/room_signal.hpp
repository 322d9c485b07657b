// SPDX-License-Identifier: Apache-2.0
// Wakes the lanes that wait for room, in memory or in the queue of a sink. All of them are woken, because each may be the
// only one that can use the room. Thread-safe.
#pragma once

#include "engine/stream_state.hpp"

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

namespace pl::engine {

class room_signal {
 public:
  // While it exists, the lane is woken. Create it before the last look for room: room that is made after it wakes the lane.
  class listener {
   public:
    listener(room_signal& signal, settlement_inbox& lane) : signal_(signal), lane_(lane) {
      std::scoped_lock lock(signal_.mutex_);
      signal_.lanes_.push_back(&lane_);
      signal_.count_ = signal_.lanes_.size();
    }
    ~listener() {
      std::scoped_lock lock(signal_.mutex_);
      std::erase(signal_.lanes_, &lane_);
      signal_.count_ = signal_.lanes_.size();
    }
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

   private:
    room_signal& signal_;
    settlement_inbox& lane_;
  };

  // There may be room. Costs one load if no lane waits.
  void notify() noexcept {
    if (count_ == 0) return;
    std::scoped_lock lock(mutex_);
    for (auto* lane : lanes_) lane->wake();
  }

 private:
  std::mutex mutex_;
  std::vector<settlement_inbox*> lanes_;
  std::atomic<std::size_t> count_{0};  // of lanes_
};

}  // namespace pl::engine
