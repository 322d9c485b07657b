// SPDX-License-Identifier: Apache-2.0
// Detects a join in progress. An offset committed during a join carries the previous generation, and the broker
// rejects it. librdkafka then revokes all partitions without a commit, and their records are read again. librdkafka
// has no API for the join state, so this class observes the requests by interceptors. It also notes when a broker has
// responded last.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>

namespace kafka {

// Observes the group requests of one client. Must outlive the client that it is installed for (client::keep).
class group_watch {
 public:
  void install(rd_kafka_conf_t* conf);
  // Record that partitions were unassigned: librdkafka then rejoins the group at once.
  void expect_join() noexcept { state_.joining = true; }
  [[nodiscard]] bool joining() const noexcept { return state_.joining; }
  // Return whether a response to JoinGroup has arrived, whatever its result.
  [[nodiscard]] bool responded() const noexcept { return state_.responded; }

  // Return when a broker responded to a request of any kind; the epoch: none has.
  [[nodiscard]] std::chrono::steady_clock::time_point last_response() const noexcept { return state_.last_response; }

  struct state {
    std::atomic<bool> joining{false}, responded{false};
    std::atomic<std::chrono::steady_clock::time_point> last_response{};
  };

 private:
  state state_;
};

}  // namespace kafka
