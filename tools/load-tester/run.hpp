// SPDX-License-Identifier: Apache-2.0
// One run: connect, send, wait until things have settled, count.
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

// How often Ctrl-C (or SIGTERM) came: once stops the sending, twice the waiting as well.
void catch_signals();
int stop_requests() noexcept;

outcome run_once(const options& o);

}  // namespace pl::load
