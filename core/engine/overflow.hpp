// SPDX-License-Identifier: Apache-2.0
// The rows that the full queue of a writer drops (`when_full`): counts them, and logs when dropping begins, continues, and
// ends. Any thread.
#pragma once

#include "config/pipeline.hpp"
#include "engine/instance.hpp"
#include "engine/node_meters.hpp"
#include "engine/outage.hpp"
#include "engine/queued_group.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace pl::engine {

class overflow {
 public:
  // limit: of the queue, in bytes of memory.
  overflow(const config::node& settings, std::uint64_t limit, const instance& sink, std::shared_ptr<node_meters> meters)
      : policy_(settings.when_full),
        limit_(limit),
        disk_limit_(settings.queue.disk / settings.writers),
        sink_(sink),
        meters_(std::move(meters)) {}

  void dropped(queued_group group);
  void has_room();                           // half of the queue is empty again
  void finish();                             // log what is not logged yet
  [[nodiscard]] std::string reason() const;  // for readiness; empty: nothing is being dropped

 private:
  using clock = std::chrono::steady_clock;
  // Minimum time between two lines that dropping begins, or continues. Short episodes within it are only counted.
  static constexpr auto interval = std::chrono::seconds(30);

  [[nodiscard]] std::string which() const;
  [[nodiscard]] std::string limit_text() const;

  const config::full_policy policy_;
  const std::uint64_t limit_, disk_limit_;
  const instance& sink_;
  const std::shared_ptr<node_meters> meters_;
  mutable std::mutex mutex_;
  outage episode_;
  bool logged_ = false;                 // that this episode has begun
  std::uint64_t rows_ = 0, total_ = 0;  // rows_: of this episode
  std::uint64_t unlogged_ = 0;          // rows since the last line
  clock::time_point last_line_{clock::time_point::min()};
};

}  // namespace pl::engine
