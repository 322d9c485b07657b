// SPDX-License-Identifier: Apache-2.0
// A producer for one topic, with transactions if it has a transactional id. Reports the delivery of each message.
#pragma once

#include "encoder.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kafka {

constexpr auto of_no_row = static_cast<std::size_t>(-1);

// A message that was not delivered.
struct undelivered {
  std::size_t row;  // as passed to send; of_no_row for position and state records
  rd_kafka_resp_err_t why;
};

class producer {
 public:
  static pl::result<std::unique_ptr<producer>> open(conf_ptr conf, const std::string& topic, pl::context ctx);
  producer(const producer&) = delete;
  producer& operator=(const producer&) = delete;
  ~producer();

  // Queue one message, which is copied. Blocks while the queue is full.
  void send(std::size_t row, const encoded_row& message);
  // Queue a message for a partition of another topic. An absent value is a tombstone.
  void send(rd_kafka_topic_t* topic, std::int32_t partition, std::string_view key,
            std::optional<std::string_view> value);
  // Wait until all messages are acknowledged or have failed, and return those that failed. Bounded by the message
  // time-out.
  std::vector<undelivered> finish();

  // take_over finishes the transaction of another producer with the same transactional id and fences that producer.
  // The transaction functions fail with `retry`; call abort after a failed commit. A producer that is broken() must be
  // replaced, and the outcome of its transaction read from the topic.
  pl::result<void> take_over(std::chrono::milliseconds timeout);
  pl::result<void> begin();
  pl::result<void> commit(std::chrono::milliseconds timeout);
  pl::result<void> abort(std::chrono::milliseconds timeout);

  [[nodiscard]] topic_ptr topic(const std::string& name) const {
    return topic_ptr(rd_kafka_topic_new(client_->get(), name.c_str(), nullptr));
  }
  [[nodiscard]] rd_kafka_t* handle() const noexcept { return client_->get(); }
  // Return whether the producer must be replaced: it cannot guarantee the order, or it was fenced.
  [[nodiscard]] bool broken() const noexcept;
  void mark_broken() noexcept { marked_broken_ = true; }

 private:
  producer(std::shared_ptr<client> with, topic_ptr topic, pl::context ctx);
  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* opaque);
  void push(std::size_t row);
  rd_kafka_vu_t& add(rd_kafka_vtype_t kind);

  std::shared_ptr<client> client_;
  topic_ptr topic_;
  pl::context ctx_;
  std::size_t under_way_ = 0;
  bool marked_broken_ = false;
  bool reports_lost_ = false;  // of undelivered messages
  std::vector<undelivered> failed_;
  std::vector<rd_kafka_vu_t> parts_;  // of the current message
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
