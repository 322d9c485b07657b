// SPDX-License-Identifier: Apache-2.0
#include "commit_check.hpp"

#include <span>

namespace kafka {

namespace {

constexpr int timeout_ms = 2000, logs_timeout_ms = 500;  // no leader responds for a partition that was deleted

}  // namespace

void commit_check::ask(std::vector<question> about, ends with) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  questions_ = std::move(about);
  with_ = with;
  answer_.reset();
  pending_ = true;
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  asked_.notify_all();
}

bool commit_check::pending() const {
  const std::scoped_lock lock(mutex_);
  return pending_;
}

void commit_check::wait_until(std::chrono::steady_clock::time_point at_most) {
  std::unique_lock lock(mutex_);
  answered_.wait_until(lock, at_most, [&] { return answer_.has_value() || !pending_; });
}

std::optional<commit_check::answer> commit_check::take() {
  const std::scoped_lock lock(mutex_);
  if (!answer_) return std::nullopt;
  pending_ = false;
  return std::exchange(answer_, std::nullopt);
}

void commit_check::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void commit_check::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (asked_.wait(lock, stop, [&] { return !questions_.empty(); })) {
    const auto about = std::exchange(questions_, {});
    const auto with = with_;
    lock.unlock();
    auto found = look_up(about, with);
    lock.lock();
    answer_ = std::move(found);
    answered_.notify_all();
  }
}

// The times are asked for first: if the commit still exists afterwards, they are those of its topic. The ends are asked for
// last: they are of the topic to which the previous commit went, or of a later one.
commit_check::answer commit_check::look_up(const std::vector<question>& about, ends with) const {
  answer found;
  std::vector<end_target> times, logs;
  const auto list = make_partition_list(static_cast<int>(about.size()));
  for (const auto& [of, leader, time] : about) {
    rd_kafka_topic_partition_list_add(list.get(), of.first.c_str(), of.second);
    if (time) times.push_back({of.first, of.second, leader, *time});
    if (with == ends::yes) logs.push_back({of.first, of.second, leader});
  }
  for (const auto& e : log_ends(client_->get(), times, logs_timeout_ms))
    found.first_later[{e.topic, e.partition}] = e.end;
  found.why = rd_kafka_committed(client_->get(), list.get(), timeout_ms);
  if (found.why != RD_KAFKA_RESP_ERR_NO_ERROR) return found;
  for (const auto& entry : std::span(list->elems, static_cast<std::size_t>(list->cnt))) {
    if (entry.err != RD_KAFKA_RESP_ERR_NO_ERROR)
      found.why = entry.err;
    else if (entry.offset < 0)
      found.missing.emplace_back(entry.topic, entry.partition);
  }
  if (found.why != RD_KAFKA_RESP_ERR_NO_ERROR) return found;
  for (const auto& e : log_ends(client_->get(), logs, logs_timeout_ms)) found.ends[{e.topic, e.partition}] = e.end;
  return found;
}

}  // namespace kafka
