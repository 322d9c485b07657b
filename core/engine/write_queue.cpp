// SPDX-License-Identifier: Apache-2.0
#include "engine/write_queue.hpp"

namespace pl::engine {

void write_queue::push(std::vector<batch_ref> batches) {
  group g{std::move(batches), 0, 0, std::chrono::steady_clock::now()};
  for (const auto& b : g.batches) {
    g.rows += b->nsel;
    if (b->nsel != 0) g.bytes += b->footprint();  // ranges alone share the memory of what the others count
  }
  std::scoped_lock lock(mutex_);
  rows_ += g.rows;
  bytes_ += g.bytes;
  waiting_.push_back(std::move(g));
  changed_.notify_all();
}

bool write_queue::due() const { return hurried_ > 0 || closed_ || rows_ >= batch_.rows || bytes_ >= batch_.max_bytes; }

std::vector<batch_ref> write_queue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !waiting_.empty() || closed_; });
  if (waiting_.empty()) return {};
  changed_.wait_until(lock, waiting_.front().arrived + batch_.delay, [&] { return due(); });
  std::vector<batch_ref> taken;
  std::uint64_t bytes = 0;
  while (!waiting_.empty() && (taken.empty() || bytes + waiting_.front().bytes <= batch_.max_bytes)) {
    auto& g = waiting_.front();
    bytes += g.bytes;
    bytes_ -= g.bytes;
    rows_ -= g.rows;
    for (auto& b : g.batches) taken.push_back(std::move(b));
    waiting_.pop_front();
  }
  return taken;
}

bool write_queue::pause(std::chrono::nanoseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return abandoned_; });
  return abandoned_;
}

void write_queue::hurry(bool on) {
  std::scoped_lock lock(mutex_);
  hurried_ += on ? 1 : -1;
  changed_.notify_all();
}

void write_queue::close() {
  std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void write_queue::abandon() {
  std::scoped_lock lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

bool write_queue::abandoned() const {
  std::scoped_lock lock(mutex_);
  return abandoned_;
}

std::uint64_t write_queue::bytes() const {
  std::scoped_lock lock(mutex_);
  return bytes_;
}

}  // namespace pl::engine
