// SPDX-License-Identifier: Apache-2.0
// Which writer of a sink receives which stream. A stream keeps its writer, so that its batches stay in order. Thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::engine {

class writer_choice {
 public:
  using time = std::chrono::steady_clock::time_point;
  struct entry {
    std::size_t writer;
    time seen;
  };
  using streams = std::map<std::string, entry, std::less<>>;

  explicit writer_choice(std::size_t writers) : writers_(writers) {}

  // Return the writer of a stream. A new stream gets the one that has the fewest streams with records in the last minute:
  // a hash of the name would often give most of a topic's partitions to the same writer.
  std::size_t of(std::string_view stream, time now = std::chrono::steady_clock::now()) {
    const std::scoped_lock lock(mutex_);
    if (const auto known = streams_.find(stream); known != streams_.end()) {
      known->second.seen = now;
      return known->second.writer;
    }
    if (streams_.size() >= most_streams) return std::hash<std::string_view>()(stream) % writers_;
    const auto chosen = least_used(now);
    streams_.emplace(stream, entry{chosen, now});
    return chosen;
  }

  // For a sink that takes over the queues of another one with as many writers.
  [[nodiscard]] streams take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(streams_, {});
  }
  void take_over(streams known) {
    const std::scoped_lock lock(mutex_);
    streams_ = std::move(known);
  }

 private:
  static constexpr std::size_t most_streams = 1000;  // beyond, hashes are even enough
  static constexpr std::chrono::minutes recent{1};

  // Under the lock.
  [[nodiscard]] std::size_t least_used(time now) const {
    std::vector<std::size_t> used(writers_);
    for (const auto& [name, e] : streams_)
      if (now - e.seen < recent) ++used[e.writer];
    return static_cast<std::size_t>(std::ranges::min_element(used) - used.begin());
  }

  const std::size_t writers_;
  std::mutex mutex_;
  streams streams_;
};

}  // namespace pl::engine
