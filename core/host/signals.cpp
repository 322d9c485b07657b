// SPDX-License-Identifier: Apache-2.0
#include "host/signals.hpp"

namespace pl::host {

signals::signals() {
  sigemptyset(&set_);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, s);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a peer that hangs up is an error value, not the end
}

int signals::wait(std::chrono::nanoseconds timeout) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec until{static_cast<time_t>(seconds.count()), static_cast<long>((timeout - seconds).count())};
  const int got = sigtimedwait(&set_, nullptr, &until);
  return got < 0 ? 0 : got;
}

}  // namespace pl::host
