// SPDX-License-Identifier: Apache-2.0
// Sends messages to one topic and knows what became of each.
#pragma once

#include "encoder.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace kafka {

// A message that did not arrive.
struct undelivered {
  std::size_t row;  // as given to send
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
  // Waits until all messages are acknowledged or have failed, and says which failed. Bounded by their time-out.
  std::vector<undelivered> finish();

  [[nodiscard]] rd_kafka_t* handle() const noexcept { return client_->get(); }
  // An idempotent producer that can't vouch for the order any more: it has to be made anew.
  [[nodiscard]] bool broken() const noexcept;

 private:
  producer(std::shared_ptr<client> with, topic_ptr topic, pl::context ctx);
  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* opaque);
  rd_kafka_resp_err_t enqueue(std::size_t row, const encoded_row& message);

  std::shared_ptr<client> client_;
  topic_ptr topic_;
  pl::context ctx_;
  std::size_t under_way_ = 0;
  std::vector<undelivered> failed_;
  std::vector<rd_kafka_vu_t> parts_;  // kept for its memory
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
