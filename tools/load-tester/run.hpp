// SPDX-License-Identifier: Apache-2.0
// Performs one run: connect, send, wait until everything has arrived, and count.
#pragma once

#include "options.hpp"
#include "report.hpp"

#include <string>

namespace pl::load {

struct outcome {
  int code = exit_fine;
  std::string error;  // with exit_unreachable: which server, and what to do
  report seen;
};

void catch_signals();
// Return how often the program got SIGINT (Ctrl-C) or SIGTERM. The first stops the sending, the second the waiting.
int stop_requests() noexcept;

outcome run_once(const options& o);

}  // namespace pl::load
