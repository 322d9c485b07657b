// SPDX-License-Identifier: Apache-2.0
#include "host/call_watch.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace pl::host {

using namespace std::chrono_literals;

call_watch::call_watch(std::shared_ptr<const engine::call_monitor> calls, telemetry::logger& log)
    : calls_(std::move(calls)), log_(log), thread_([this] { run(); }) {}

call_watch::~call_watch() {
  {
    std::scoped_lock lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
  look();  // calls that have returned since
}

void call_watch::run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, 500ms, [&] { return done_; })) look();
}

void call_watch::look() {
  for (auto& [id, r] : known_) r.runs = false;
  for (auto& call : calls_->overdue()) {
    auto& r = known_[{call.pipeline, call.node, call.function, call.began_ns}];
    r.runs = true;
    r.call = std::move(call);
    if (r.call.length < r.next) continue;
    r.next = 2 * r.call.length;
    log_.report(
        telemetry::log_level::warn, r.call.pipeline, r.call.node,
        engine::to_string(r.call) +
            "; the node is not ready until it returns. The host cannot interrupt it: if it never returns, restart "
            "the host");
  }
  for (auto& [id, r] : known_)
    if (!r.runs)
      log_.report(telemetry::log_level::info, r.call.pipeline, r.call.node,
                  fmt::format("the call of {} in plugin {} has returned after about {} s", r.call.function,
                              r.call.plugin, std::chrono::duration_cast<std::chrono::seconds>(r.call.length).count()));
  std::erase_if(known_, [](const auto& entry) { return !entry.second.runs; });
}

}  // namespace pl::host
