// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace pl::host {

// A plugin that hangs in a call can't be interrupted: where this lives for longer than that, the process ends without it.
class watchdog {
 public:
  watchdog(std::chrono::nanoseconds patience, int code)
      : thread_([this, until = std::chrono::steady_clock::now() + patience, code] {
          while (!done_ && std::chrono::steady_clock::now() < until)
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
          if (!done_) std::_Exit(code);
        }) {}
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  ~watchdog() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace pl::host
