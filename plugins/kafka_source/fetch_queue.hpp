// SPDX-License-Identifier: Apache-2.0
// Where the fetched messages of all partitions wait for us.
//
// They could come through the consumer's own queue, along with rebalances and errors. But then a source that has no
// room could not serve the one without taking the other. With a queue of their own the messages simply stay where they
// are (bounded by queued.max.messages.kbytes) while the consumer's queue is served and the membership kept alive:
// nothing has to be paused, thrown away and fetched again.
#pragma once

#include <kafka_common/client.hpp>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kafka {

// Messages that we own, and the client that they need to be alive. Cells of a batch point into them: the batch pins it.
class message_array {
 public:
  message_array(std::shared_ptr<client> from, std::size_t capacity);
  message_array(const message_array&) = delete;
  message_array& operator=(const message_array&) = delete;
  ~message_array();

  [[nodiscard]] std::span<rd_kafka_message_t*> messages() noexcept { return {messages_.data(), count_}; }
  [[nodiscard]] std::span<rd_kafka_message_t*> room() noexcept { return std::span(messages_).subspan(count_); }
  void filled(std::size_t more) noexcept { count_ += more; }
  // Destroys message i; it stays in the array, as null.
  void drop(std::size_t i) noexcept;

 private:
  std::shared_ptr<client> client_;
  std::vector<rd_kafka_message_t*> messages_;
  std::size_t count_ = 0;
};

class fetch_queue {
 public:
  explicit fetch_queue(std::shared_ptr<client> of);
  fetch_queue(const fetch_queue&) = delete;
  fetch_queue& operator=(const fetch_queue&) = delete;
  ~fetch_queue();

  // Sends a partition's messages here, from now on. Harmless when they already come.
  void attach(rd_kafka_queue_t* partition) noexcept { rd_kafka_queue_forward(partition, queue_.get()); }

  // Takes what is there, without waiting: at most max_rows messages and about max_bytes of payload.
  std::unique_ptr<message_array> take(std::size_t max_rows, std::size_t max_bytes);

  // Waits until there may be messages here, or events in the consumer's queue.
  void wait(std::chrono::nanoseconds at_most) noexcept;

  // librdkafka before 2.2 looks only once a second whether a queue that was full has room again, and has no option to
  // change that. With this set, `take` wakes its threads as it makes room.
  void wake_fetchers_when_taking(std::string user, std::string password);

 private:
  void wake_fetchers() noexcept;
  [[nodiscard]] std::size_t chunk(std::size_t rows, std::size_t bytes) const noexcept;

  std::shared_ptr<client> client_;
  queue_ptr events_;  // the consumer's own queue
  queue_ptr queue_;
  int signal_;
  std::size_t usual_size_ = 256;  // bytes of a message, as seen lately
  bool waking_ = false;
  std::string user_, password_;
  std::chrono::steady_clock::time_point woken_{};
};

}  // namespace kafka
