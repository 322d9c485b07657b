// SPDX-License-Identifier: Apache-2.0
// The delivery of the rows of one write, or of one stream in it: sends them and finds those that brokers permanently
// reject.
#pragma once

#include "encoder.hpp"
#include "producer.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kafka {

struct row_ref {
  std::uint32_t batch;
  pl::row_index row;
};

class delivery {
 public:
  // The arguments must outlive this object.
  delivery(encoder& with, const pl::batch_list& batches, std::span<const row_ref> rows)
      : encoder_(with), batches_(batches), rows_(rows) {}

  // Queue all rows without waiting for acknowledgements.
  void send_all(producer& by);

  struct outcome {
    std::vector<undelivered> refused, unacknowledged;  // refused: permanently; unacknowledged: retry
  };
  // Bisect the failed rows to find those that the broker rejects: it rejects a whole set of records because of one.
  // `trial` runs the function that sends one part, so that the caller can act before and after.
  using trial = std::function<void(const std::function<void()>& part)>;
  outcome bisect(producer& by, const std::vector<undelivered>& failed, const trial& around);

  void reject(const pl::context& to, const std::vector<undelivered>& refused, const std::string& topic);

 private:
  void bisect(producer& by, const std::vector<undelivered>& failed, const trial& around, outcome& to);
  void resend(producer& by, std::span<const std::size_t> rows, const trial& around, outcome& to);
  const encoded_row& encode(std::size_t index);
  [[nodiscard]] std::string explain(const undelivered& refused, const std::string& topic);

  encoder& encoder_;
  const pl::batch_list& batches_;
  std::span<const row_ref> rows_;
};

// Return whether the error is about the message itself, so that every retry of it fails.
[[nodiscard]] bool is_message_fault(rd_kafka_resp_err_t code) noexcept;

}  // namespace kafka
