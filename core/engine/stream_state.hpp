// SPDX-License-Identifier: Apache-2.0
// Tracks how far one stream is read and settled, and passes reports of released batches to the lane.
// Threads: stream_state belongs to the lane's thread, but for `lost` and `revoked`; settlement_inbox is shared by any threads.
#pragma once

#include "telemetry/metrics.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::engine {

// One assignment of one stream to one lane. A stream that is revoked and assigned again is a new object, so that
// reports of the earlier assignment are not counted for it.
class stream_state {
 public:
  // position: where reading begins. Records below `settled` are delivered already; only transforms need them again.
  stream_state(std::string name, std::uint64_t position, std::uint64_t settled)
      : name_(std::move(name)), position_(position), settled_(settled) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }  // read up to here
  [[nodiscard]] std::uint64_t settled() const noexcept { return settled_; }    // delivered up to here
  [[nodiscard]] bool idle() const noexcept { return outstanding_ == 0; }       // nothing is in flight
  // Ranges are numbered: those below begun() were read, those below delivered() are delivered.
  [[nodiscard]] std::uint64_t begun() const noexcept { return begun_; }
  [[nodiscard]] std::uint64_t delivered() const noexcept { return first_; }

  // Add a range that was read, which ends at `next`. Return its number.
  std::uint64_t begin(std::uint64_t next) {
    position_ = next;
    pending_.push_back({begun_, next});
    ++outstanding_;
    return begun_++;
  }
  // Join a range in flight with the one that was read after it: they are reported together, by the number of the later
  // one. False: another range is between them, or one is reported.
  bool join(std::uint64_t number, std::uint64_t later) {
    const auto at = find(number);
    if (at == pending_.end() || at->reported) return false;
    const auto after = std::find_if(at + 1, pending_.end(), [](const auto& r) { return !r.joined; });
    if (after == pending_.end() || after->number != later || after->reported) return false;
    at->reported = at->joined = true;
    --outstanding_;
    ++joined_;
    if (joined_ > 64 && joined_ > pending_.size() / 2)
      joined_ -= std::erase_if(pending_, [](const auto& r) { return r.joined; });
    return true;
  }
  // Count a range as no longer in flight. True if settled() moved. A range that was not delivered holds settled() back
  // until the stream is assigned again and the range is read again.
  bool report(std::uint64_t number, bool delivered) {
    const auto at = find(number);
    if (at == pending_.end() || at->reported) return false;
    at->reported = true;
    at->delivered = delivered;
    --outstanding_;
    const auto before = settled_;
    while (!pending_.empty() && (pending_.front().delivered || pending_.front().joined)) {
      if (pending_.front().joined) {
        --joined_;
      } else {
        settled_ = std::max(settled_, pending_.front().next);
        first_ = pending_.front().number + 1;
      }
      pending_.pop_front();
    }
    return settled_ != before;
  }

  // What is in flight must not be written: records before it are lost on the way to a sink, and all are read again. Any
  // thread.
  void mark_lost() noexcept { lost_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

  // Another lane or host may read the stream now. Any thread.
  void mark_revoked() noexcept { revoked_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool revoked() const noexcept { return revoked_.load(std::memory_order_relaxed); }

  telemetry::gauge lag, settled_position;             // set by stream_table
  std::optional<telemetry::gauge> arrival_clock_lag;  // once the stream has a clock

 private:
  struct range {
    std::uint64_t number, next;
    bool reported = false, delivered = false;
    bool joined = false;  // with the next one that is not: it counts no more
  };
  // Return the range of this number, or the end.
  std::deque<range>::iterator find(std::uint64_t number) {
    const auto at = std::ranges::lower_bound(pending_, number, {}, &range::number);
    return at != pending_.end() && at->number == number ? at : pending_.end();
  }

  std::string name_;
  std::uint64_t position_, settled_;
  std::uint64_t first_ = 0, begun_ = 0;  // see delivered() and begun()
  std::size_t outstanding_ = 0, joined_ = 0;
  std::deque<range> pending_;
  std::atomic<bool> lost_{false}, revoked_{false};
};

// A range in flight, kept by the batch that was read.
struct flight {
  std::shared_ptr<stream_state> stream;
  std::uint64_t number;
};

// Collects the reports of released batches. Any thread may call put; only the lane takes reports.
class settlement_inbox {
 public:
  struct report {
    std::vector<flight> flights;
    bool delivered;
    std::uint64_t batches;
  };
  // Why streams must be read again: a sink refused a range, because a newer claim of the stream exists; or a part was
  // damaged in the queue of a sink.
  enum class loss { fenced, damaged };

  void put(report r) {
    std::scoped_lock lock(mutex_);
    reports_.push_back(std::move(r));
    changed_.notify_one();
  }
  std::vector<report> take() {
    std::scoped_lock lock(mutex_);
    return std::exchange(reports_, {});
  }
  // Report a loss before the records are released: other sinks may hold them for as long as they are down.
  void put_loss(loss why) {
    std::scoped_lock lock(mutex_);
    loss_ = why;
    woken_ = true;
    changed_.notify_one();
  }
  // Call it after `take`: then the loss is known before the last report of its records is processed.
  std::optional<loss> take_loss() {
    std::scoped_lock lock(mutex_);
    return std::exchange(loss_, std::nullopt);
  }
  // Wait for a report, a call of `wake`, or the timeout.
  void wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [&] { return woken_ || !reports_.empty(); });
    woken_ = false;
  }
  void wake() {
    std::scoped_lock lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<report> reports_;
  std::optional<loss> loss_;
  bool woken_ = false;
};

}  // namespace pl::engine
