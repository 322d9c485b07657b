// SPDX-License-Identifier: Apache-2.0
// Asks the brokers for the ends of partitions, on a thread of its own: the response waits behind the long poll of a
// fetch, or for ever at a broker that is frozen. An end that a fetch has returned may be old; these ends are proven.
#pragma once

#include "log_ends.hpp"

#include <kafka_common/client.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace kafka {

class end_watch {
 public:
  // Every record that arrived before `before` has an offset below `end`.
  struct observation {
    std::string topic;
    std::int32_t partition;
    std::int64_t end;
    std::chrono::system_clock::time_point before;
  };

  explicit end_watch(std::shared_ptr<client> with) : client_(std::move(with)) {}
  end_watch(const end_watch&) = delete;
  end_watch& operator=(const end_watch&) = delete;
  ~end_watch() { stop(); }

  // Ask for the ends of these partitions from now on.
  void watch(std::vector<end_target> partitions);
  // Return what was observed since the last call.
  [[nodiscard]] std::vector<observation> take();
  // Ask no more. Waits for a request in progress, at most a second.
  void stop();

 private:
  void run(const std::stop_token& stop);
  void ask(std::span<const end_target> of_one_leader);

  std::shared_ptr<client> client_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<end_target> targets_;  // by leader
  std::vector<observation> observed_;
  std::jthread thread_;  // runs while there are targets, and after
};

}  // namespace kafka
