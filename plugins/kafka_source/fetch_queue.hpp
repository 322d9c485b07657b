// SPDX-License-Identifier: Apache-2.0
// A queue for the fetched messages of all partitions, separate from the consumer's own queue (rebalances, errors).
// Under back-pressure the source serves the consumer's queue, which keeps the membership alive, and leaves the
// messages queued (bounded by queued.max.messages.kbytes). No partition has to be paused and fetched again.
#pragma once

#include <kafka_common/client.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kafka {

// Owned messages, and the client that must outlive them. Cells of a batch point into them; the batch pins the array.
class message_array {
 public:
  message_array(std::shared_ptr<client> from, std::size_t capacity);
  message_array(const message_array&) = delete;
  message_array& operator=(const message_array&) = delete;
  ~message_array();

  [[nodiscard]] std::span<rd_kafka_message_t*> messages() noexcept { return {messages_.data(), count_}; }
  [[nodiscard]] std::span<rd_kafka_message_t*> room() noexcept { return std::span(messages_).subspan(count_); }
  void filled(std::size_t more) noexcept { count_ += more; }
  // Destroy message i; its element becomes null, until `close_gaps` removes it.
  void drop(std::size_t i) noexcept;
  void close_gaps() noexcept;

 private:
  std::shared_ptr<client> client_;
  std::vector<rd_kafka_message_t*> messages_;
  std::size_t count_ = 0;
};

// librdkafka before 2.2 checks only once a second whether a full queue has room again, and has no option to change this
// interval. With these settings, `fetch_queue::take` wakes librdkafka's threads when it makes room in a queue that may be full.
struct fetch_waking {
  std::string user, password;           // the client's own
  std::size_t messages = 0, bytes = 0;  // at which the queue is full
};

class fetch_queue {
 public:
  explicit fetch_queue(std::shared_ptr<client> of);
  fetch_queue(const fetch_queue&) = delete;
  fetch_queue& operator=(const fetch_queue&) = delete;
  ~fetch_queue();

  // Forward a partition's messages to this queue. Harmless if they are already forwarded.
  void attach(rd_kafka_queue_t* partition) noexcept { rd_kafka_queue_forward(partition, queue_.get()); }

  // Take queued messages without waiting: at most max_rows messages and about max_bytes of payload.
  std::unique_ptr<message_array> take(std::size_t max_rows, std::size_t max_bytes);

  [[nodiscard]] bool empty() const noexcept { return rd_kafka_queue_length(queue_.get()) == 0; }

  // Wait until this queue may have messages, or the consumer's queue may have events. Return at once if one of them has.
  void wait(std::chrono::nanoseconds at_most) noexcept;

  void wake_fetchers_when_taking(fetch_waking settings) { waking_ = std::move(settings); }

 private:
  [[nodiscard]] bool may_be_full(std::size_t messages, std::size_t taken_bytes) const noexcept;
  void wake_fetchers() noexcept;
  [[nodiscard]] std::size_t chunk(std::size_t rows, std::size_t bytes) const noexcept;

  std::shared_ptr<client> client_;
  queue_ptr events_;  // the consumer's own queue
  queue_ptr queue_;
  int signal_;
  std::size_t usual_size_ = 256;  // recent size of a message in bytes
  std::optional<fetch_waking> waking_;
  std::chrono::steady_clock::time_point woken_{};
};

}  // namespace kafka
