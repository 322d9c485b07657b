// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/call_monitor.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace pl::host {

// Blocks SIGTERM, SIGINT and SIGHUP, so that the main thread can wait for them. Construct it before any other thread
// starts: threads inherit the blocked signals.
// A thread receives the signals. It ends the process after the second SIGTERM or SIGINT if the main thread does not: a
// plugin may never return from a call on the main thread (create, destroy).
class signals {
 public:
  signals();
  ~signals();
  signals(const signals&) = delete;
  signals& operator=(const signals&) = delete;

  // Return the signal, or 0 after the timeout.
  int wait(std::chrono::nanoseconds timeout);
  // Name the calls that run if the process must be ended.
  void name_calls_of(std::shared_ptr<const engine::call_monitor> calls);

 private:
  void run();
  void end_unless_done();

  sigset_t set_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<int> arrived_;
  std::shared_ptr<const engine::call_monitor> calls_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace pl::host
