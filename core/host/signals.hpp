// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <csignal>

namespace pl::host {

// SIGTERM, SIGINT and SIGHUP, waited for instead of handled. Make it before any other thread is started: they inherit that
// the signals are blocked.
class signals {
 public:
  signals();
  // The signal, or 0 when time is up.
  int wait(std::chrono::nanoseconds timeout);

 private:
  sigset_t set_{};
};

}  // namespace pl::host
