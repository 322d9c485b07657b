// SPDX-License-Identifier: Apache-2.0
// What waits for one writer, and when enough of it waits to be written.
#pragma once

#include "config/pipeline.hpp"
#include "engine/record_batch.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

namespace pl::engine {

// Lanes push, one writer takes. Pushing never blocks and never fails: a lane looks at `full` before it reads more, so a
// queue holds at most what one read made of itself beyond its limit.
class write_queue {
 public:
  write_queue(const config::batch_settings& batch, std::uint64_t max_bytes) : batch_(batch), max_bytes_(max_bytes) {}

  // Batches that must be written together.
  void push(std::vector<batch_ref> group);

  // The next write: waits until one is due (batch.rows, batch.delay, or somebody hurries) and takes all that waits, up to
  // batch.max_bytes. Empty: closed, and nothing is left.
  std::vector<batch_ref> take();

  // Waits between two tries; true when `abandon` was called.
  bool pause(std::chrono::nanoseconds time);

  void hurry(bool on);  // don't wait for batch.rows or batch.delay, until each that said true has said false
  void close();         // take() ends once all is taken
  void abandon();       // whoever pauses wakes: no more tries
  [[nodiscard]] bool abandoned() const;

  [[nodiscard]] bool full() const { return bytes() >= max_bytes_; }
  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::uint64_t max_bytes() const noexcept { return max_bytes_; }

 private:
  struct group {
    std::vector<batch_ref> batches;
    std::uint64_t rows, bytes;
    std::chrono::steady_clock::time_point arrived;
  };
  [[nodiscard]] bool due() const;

  const config::batch_settings batch_;
  const std::uint64_t max_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<group> waiting_;
  std::uint64_t rows_ = 0, bytes_ = 0;
  int hurried_ = 0;
  bool closed_ = false, abandoned_ = false;
};

}  // namespace pl::engine
