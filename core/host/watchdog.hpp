// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/call_monitor.hpp"
#include "host/crash_report.hpp"
#include "host/emergency_line.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

namespace pl::host {

// Ends the process with `code` if the watchdog exists longer than `patience`, and names the calls that run: a plugin that
// hangs in a call cannot be interrupted.
class watchdog {
 public:
  watchdog(std::chrono::nanoseconds patience, int code, std::shared_ptr<const engine::call_monitor> calls)
      : thread_([this, until = std::chrono::steady_clock::now() + patience, code, calls = std::move(calls)] {
          while (!done_ && std::chrono::steady_clock::now() < until)
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
          if (done_) return;
          for (const auto& call : calls->longer_than(std::chrono::seconds(1)))
            emergency_line(call.pipeline, call.node,
                           engine::to_string(call) + ": the host ends without waiting for it");
          end_process(code);
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
