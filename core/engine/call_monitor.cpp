// SPDX-License-Identifier: Apache-2.0
#include "engine/call_monitor.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>

namespace pl::engine {

namespace {

// The coarse clock is cheap enough to be read for each call. It is accurate to a few milliseconds.
std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

call_clock::call call_clock::begin(const char* function) noexcept {
  const auto outer = running();
  began_ns_.store(now_ns(), std::memory_order_relaxed);
  function_.store(function, std::memory_order_release);
  return outer;
}

void call_clock::resume(const call& outer) noexcept {
  began_ns_.store(outer.began_ns, std::memory_order_relaxed);
  function_.store(outer.function, std::memory_order_release);
}

call_clock::call call_clock::running() const noexcept {
  const auto* function = function_.load(std::memory_order_acquire);
  return {function, began_ns_.load(std::memory_order_relaxed)};
}

std::string to_string(const running_call& call) {
  return fmt::format("the call of {} in plugin {} has not returned for {} s", call.function, call.plugin,
                     std::chrono::duration_cast<std::chrono::seconds>(call.length).count());
}

void call_monitor::watch(const std::shared_ptr<call_clock>& calls) {
  std::scoped_lock lock(mutex_);
  std::erase_if(all_, [](const auto& known) { return known.expired(); });
  all_.push_back(calls);
}

void call_monitor::set_limit(const std::string& pipeline, std::chrono::nanoseconds limit) {
  std::scoped_lock lock(mutex_);
  limits_.insert_or_assign(pipeline, limit);
}

// limit_of: called under the lock.
template <class Limit>
std::vector<running_call> call_monitor::find(Limit&& limit_of) const {
  std::vector<running_call> found;
  const auto now = now_ns();
  std::scoped_lock lock(mutex_);
  for (const auto& known : all_) {
    const auto calls = known.lock();
    if (!calls) continue;
    const auto call = calls->running();
    const std::chrono::nanoseconds length(now - call.began_ns);
    if (call.function != nullptr && length >= limit_of(*calls))
      found.push_back({calls->pipeline(), calls->node(), calls->plugin(), call.function, call.began_ns, length});
  }
  return found;
}

std::vector<running_call> call_monitor::overdue() const {
  return find([this](const call_clock& c) {
    const auto known = limits_.find(c.pipeline());
    return known == limits_.end() ? default_limit : known->second;
  });
}

std::vector<running_call> call_monitor::longer_than(std::chrono::nanoseconds least) const {
  return find([least](const call_clock&) { return least; });
}

}  // namespace pl::engine
