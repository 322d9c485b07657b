// SPDX-License-Identifier: Apache-2.0
// How far one stream is read and settled, and how the news of settled batches comes back to its lane.
#pragma once

#include "telemetry/metrics.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace pl::engine {

// One assignment of one stream to one lane: a stream that is lost and comes back is a new object, so that what was in
// flight under the old one can't be mistaken. Only the lane's thread touches it.
class stream_state {
 public:
  // position: where reading begins. Below `settled` all is delivered already, and only transforms need it again.
  stream_state(std::string name, std::uint64_t position, std::uint64_t settled)
      : name_(std::move(name)), position_(position), settled_(settled) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }  // read up to here
  [[nodiscard]] std::uint64_t settled() const noexcept { return settled_; }    // delivered up to here
  [[nodiscard]] bool idle() const noexcept { return outstanding_ == 0; }       // nothing is in flight

  // A range up to `next` was read; the answer names it.
  std::uint64_t begin(std::uint64_t next) {
    position_ = next;
    pending_.push_back({next, false, false});
    ++outstanding_;
    return first_ + pending_.size() - 1;
  }
  // It has come to its end. True when the watermark moved: everything below settled() is delivered. What was not delivered
  // holds the watermark back for good: it is read again.
  bool report(std::uint64_t number, bool delivered) {
    if (number < first_ || number - first_ >= pending_.size() || pending_[number - first_].reported) return false;
    pending_[number - first_] = {pending_[number - first_].next, true, delivered};
    --outstanding_;
    const auto before = settled_;
    while (!pending_.empty() && pending_.front().delivered) {
      settled_ = std::max(settled_, pending_.front().next);
      pending_.pop_front();
      ++first_;
    }
    return settled_ != before;
  }

  telemetry::gauge lag, settled_position;  // set by the lane

 private:
  struct range {
    std::uint64_t next;
    bool reported, delivered;
  };
  std::string name_;
  std::uint64_t position_, settled_;
  std::uint64_t first_ = 0;  // number of pending_.front()
  std::size_t outstanding_ = 0;
  std::deque<range> pending_;
};

// A range in flight, as the batch that was read remembers it.
struct flight {
  std::shared_ptr<stream_state> stream;
  std::uint64_t number;
};

// Where batches report that they are gone. Any thread puts in; the lane takes out.
class settlement_inbox {
 public:
  struct report {
    std::vector<flight> flights;
    bool delivered;
    bool fenced;  // a sink refused it, because the claim under which it was read is no longer the last one
  };

  void put(report r) {
    std::scoped_lock lock(mutex_);
    reports_.push_back(std::move(r));
    changed_.notify_one();
  }
  std::vector<report> take() {
    std::scoped_lock lock(mutex_);
    return std::exchange(reports_, {});
  }
  // Until there is a report, somebody called `wake`, or time is up.
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
  bool woken_ = false;
};

}  // namespace pl::engine
