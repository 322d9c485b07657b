// SPDX-License-Identifier: Apache-2.0
#include "host/signals.hpp"

#include "host/arguments.hpp"
#include "host/crash_report.hpp"
#include "host/emergency_line.hpp"

namespace pl::host {

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 1s;  // for the main thread, which logs what it ends

}  // namespace

signals::signals() {
  sigemptyset(&set_);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, s);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // writing to a closed connection returns an error instead
  thread_ = std::thread([this] { run(); });
}

signals::~signals() {
  {
    std::scoped_lock lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  pthread_kill(thread_.native_handle(), SIGHUP);  // only ends the wait
  thread_.join();
}

void signals::name_calls_of(std::shared_ptr<const engine::call_monitor> calls) {
  std::scoped_lock lock(mutex_);
  calls_ = std::move(calls);
}

int signals::wait(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, timeout, [&] { return !arrived_.empty(); })) return 0;
  const int first = arrived_.front();
  arrived_.pop_front();
  return first;
}

void signals::run() {
  int to_stop = 0;
  while (true) {
    const int got = sigwaitinfo(&set_, nullptr);
    {
      std::scoped_lock lock(mutex_);
      if (done_) return;
      if (got > 0) arrived_.push_back(got);
    }
    changed_.notify_all();
    if ((got == SIGTERM || got == SIGINT) && ++to_stop == 2) return end_unless_done();
  }
}

// After the second signal: the main thread logs it and ends the process, unless it hangs.
void signals::end_unless_done() {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, patience, [&] { return done_; })) return;
  fixed_text message;
  message
      << "second signal: stopping at once, although the main thread does not respond; what was in flight is read again "
         "after the next start";
  if (calls_ != nullptr)
    for (const auto& call : calls_->longer_than(patience))
      message << "; " << call.pipeline << "/" << call.node << ": " << engine::to_string(call);
  emergency_line({}, {}, message.view());
  end_process(exit_at_once);
}

}  // namespace pl::host
