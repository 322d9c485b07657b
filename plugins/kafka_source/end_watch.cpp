// SPDX-License-Identifier: Apache-2.0
#include "end_watch.hpp"

#include <algorithm>
#include <utility>

namespace kafka {

namespace {

using namespace std::chrono_literals;

constexpr auto interval = 500ms;
constexpr int timeout_ms = 1000;
// A record becomes readable once it is replicated, a little after the broker has given it its time.
constexpr auto replication = 100ms;
constexpr std::size_t most_observed = 10'000;  // a lane that is stuck in a transform takes none

}  // namespace

void end_watch::watch(std::vector<end_target> partitions) {
  std::ranges::stable_sort(partitions, {}, &end_target::leader);
  const std::scoped_lock lock(mutex_);
  if (partitions == targets_) return;
  targets_ = std::move(partitions);
  changed_.notify_all();
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

std::vector<end_watch::observation> end_watch::take() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(observed_, {});
}

void end_watch::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void end_watch::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto next = std::chrono::steady_clock::now() + interval;
    std::vector<end_target> targets;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !targets_.empty(); });
      targets = targets_;
    }
    for_each_leader(targets, [&](std::span<const end_target> of_one_leader) {
      if (!stop.stop_requested()) ask(of_one_leader);
    });
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, stop, next, [] { return false; });
  }
}

void end_watch::ask(std::span<const end_target> of_one_leader) {
  const auto before = std::chrono::system_clock::now() - replication;
  const auto found = ends_at_leader(client_->get(), of_one_leader, timeout_ms);
  const std::scoped_lock lock(mutex_);
  for (const auto& e : found)
    if (observed_.size() < most_observed) observed_.push_back({e.topic, e.partition, e.end, before});
}

}  // namespace kafka
