// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/call_monitor.hpp"
#include "telemetry/log.hpp"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>

namespace pl::host {

// Logs calls into plugins that run longer than the limit of their pipeline (`slow_call`), and their return. It has a thread
// of its own, because the main thread makes some of these calls.
class call_watch {
 public:
  call_watch(std::shared_ptr<const engine::call_monitor> calls, telemetry::logger& log);
  ~call_watch();
  call_watch(const call_watch&) = delete;
  call_watch& operator=(const call_watch&) = delete;

 private:
  struct reported {
    engine::running_call call;
    std::chrono::nanoseconds next;  // length at which it is logged again
    bool runs = true;
  };
  using key = std::tuple<std::string, std::string, std::string, std::int64_t>;

  void run();
  void look();

  std::shared_ptr<const engine::call_monitor> calls_;
  telemetry::logger& log_;
  std::map<key, reported> known_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace pl::host
