// SPDX-License-Identifier: Apache-2.0
// Sends messages to a topic, in transactions where it has a transactional id, and knows what became of each.
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

// A message that did not arrive.
struct undelivered {
  std::size_t row;  // as given to send; of_no_row
  rd_kafka_resp_err_t why;
};

class producer {
 public:
  static pl::result<std::unique_ptr<producer>> open(conf_ptr conf, const std::string& topic, pl::context ctx);
  producer(const producer&) = delete;
  producer& operator=(const producer&) = delete;
  ~producer();

  // Hands one message over; what it points to is copied. Waits for room.
  void send(std::size_t row, const encoded_row& message);
  // Of another topic, into a partition of it. value absent: a tombstone.
  void send(rd_kafka_topic_t* topic, std::int32_t partition, std::string_view key,
            std::optional<std::string_view> value);
  // Waits until all messages are acknowledged or have failed, and says which failed. Bounded by their time-out.
  std::vector<undelivered> finish();

  // Transactions. take_over: finishes what another producer of the same transactional id has begun, and shuts it out.
  // Failures of these are `retry`; abort after one of commit. A producer that is broken() then has to be made anew, and what
  // became of its transaction is to be looked up.
  pl::result<void> take_over(std::chrono::milliseconds timeout);
  pl::result<void> begin();
  pl::result<void> commit(std::chrono::milliseconds timeout);
  pl::result<void> abort(std::chrono::milliseconds timeout);

  [[nodiscard]] topic_ptr topic(const std::string& name) const {
    return topic_ptr(rd_kafka_topic_new(client_->get(), name.c_str(), nullptr));
  }
  [[nodiscard]] rd_kafka_t* handle() const noexcept { return client_->get(); }
  // It can't vouch for the order any more, or was shut out by another of its transactional id: it has to be made anew.
  [[nodiscard]] bool broken() const noexcept;
  void condemn() noexcept { condemned_ = true; }

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
  bool condemned_ = false;
  std::vector<undelivered> failed_;
  std::vector<rd_kafka_vu_t> parts_;  // of the message in hand
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
