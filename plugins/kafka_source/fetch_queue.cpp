// SPDX-License-Identifier: Apache-2.0
#include "fetch_queue.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace kafka {

using namespace std::chrono_literals;

message_array::message_array(std::shared_ptr<client> from, std::size_t capacity)
    : client_(std::move(from)), messages_(capacity) {}

message_array::~message_array() {
  for (auto* message : messages())
    if (message != nullptr) rd_kafka_message_destroy(message);
}

void message_array::drop(std::size_t i) noexcept { rd_kafka_message_destroy(std::exchange(messages_[i], nullptr)); }

void message_array::close_gaps() noexcept {
  const auto all = messages();
  count_ = static_cast<std::size_t>(std::remove(all.begin(), all.end(), nullptr) - all.begin());
}

fetch_queue::fetch_queue(std::shared_ptr<client> of)
    : client_(std::move(of)),
      events_(rd_kafka_queue_get_consumer(client_->get())),
      queue_(rd_kafka_queue_new(client_->get())),
      signal_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (signal_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  const std::uint64_t one = 1;
  rd_kafka_queue_io_event_enable(events_.get(), signal_, &one, sizeof one);
  rd_kafka_queue_io_event_enable(queue_.get(), signal_, &one, sizeof one);
}

fetch_queue::~fetch_queue() {
  rd_kafka_queue_io_event_enable(events_.get(), -1, nullptr, 0);
  rd_kafka_queue_io_event_enable(queue_.get(), -1, nullptr, 0);
  close(signal_);
}

std::size_t fetch_queue::chunk(std::size_t rows, std::size_t bytes) const noexcept {
  return std::clamp<std::size_t>(bytes / usual_size_, 1, rows);
}

std::unique_ptr<message_array> fetch_queue::take(std::size_t max_rows, std::size_t max_bytes) {
  constexpr std::size_t most = 65'536;
  const auto there = rd_kafka_queue_length(queue_.get());
  auto taken = std::make_unique<message_array>(client_, std::min({max_rows, most, there}));
  std::size_t bytes = 0;
  while (!taken->room().empty() && (bytes < max_bytes || taken->messages().empty())) {
    const auto room = taken->room().first(chunk(taken->room().size(), max_bytes - std::min(bytes, max_bytes)));
    const auto got = rd_kafka_consume_batch_queue(queue_.get(), 0, room.data(), room.size());
    if (got <= 0) break;
    std::size_t size = 0;
    for (const auto* message : room.first(static_cast<std::size_t>(got))) size += message->len + message->key_len;
    taken->filled(static_cast<std::size_t>(got));
    bytes += size;
    // Increase at once and decrease slowly: a few large messages among small ones must not make a batch far too large.
    usual_size_ = std::max({std::size_t{16}, size / static_cast<std::size_t>(got), usual_size_ * 7 / 8});
    if (static_cast<std::size_t>(got) < room.size()) break;
  }
  if (waking_ && !taken->messages().empty() && may_be_full(there, bytes)) wake_fetchers();
  return taken;
}

// librdkafka signals only the first entry of an empty queue, so what arrived beside entries that were taken meanwhile has no
// signal of its own.
void fetch_queue::wait(std::chrono::nanoseconds at_most) noexcept {
  if (!empty() || rd_kafka_queue_length(events_.get()) != 0) return;
  pollfd waiting{signal_, POLLIN, 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::max(at_most, 0ns)).count();
  if (poll(&waiting, 1, static_cast<int>(ms)) <= 0) return;
  std::uint64_t count = 0;
  [[maybe_unused]] const auto ignored = read(signal_, &count, sizeof count);
}

// Return whether the queue may have been full before some of its messages were taken. Only the number of messages is known;
// their size is estimated, with a wide margin. Each call wakes several threads, which costs much at low rates.
bool fetch_queue::may_be_full(std::size_t messages, std::size_t taken_bytes) const noexcept {
  return messages >= waking_->messages / 2 || std::max(messages * usual_size_, taken_bytes) >= waking_->bytes / 4;
}

void fetch_queue::wake_fetchers() noexcept {
  const auto now = std::chrono::steady_clock::now();
  if (now - woken_ < 5ms) return;
  woken_ = now;
  // Setting the credentials to their present values is the only public call that wakes the broker threads and has no
  // other effect on a consumer. (A request to the broker would work, too, but costs a round trip.)
  const error_ptr ignored(
      rd_kafka_sasl_set_credentials(client_->get(), waking_->user.c_str(), waking_->password.c_str()));
}

}  // namespace kafka
