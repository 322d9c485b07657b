// SPDX-License-Identifier: Apache-2.0
// The rows of one write, or of one stream in it, on their way: sends them, and finds those that no broker will ever take.
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
  // All of these must live as long.
  delivery(encoder& with, const pl::batch_list& batches, std::span<const row_ref> rows)
      : encoder_(with), batches_(batches), rows_(rows) {}

  // Without waiting.
  void send_all(producer& by);

  struct outcome {
    std::vector<undelivered> refused, unacknowledged;  // never; perhaps later
  };
  // A broker refuses a whole set of records for one of them. Which it is shows when the set is sent again in halves.
  // trial: runs what sends one part; to do something before and after.
  using trial = std::function<void(const std::function<void()>& part)>;
  outcome sort_out(producer& by, const std::vector<undelivered>& failed, const trial& around);

  void reject(const pl::context& to, const std::vector<undelivered>& refused, const std::string& topic);

 private:
  void sort_out(producer& by, const std::vector<undelivered>& failed, const trial& around, outcome& to);
  void resend(producer& by, std::span<const std::size_t> rows, const trial& around, outcome& to);
  const encoded_row& encode(std::size_t index);
  [[nodiscard]] std::string explain(const undelivered& refused, const std::string& topic);

  encoder& encoder_;
  const pl::batch_list& batches_;
  std::span<const row_ref> rows_;
};

// A refusal of this one message, whatever is sent with it and whenever it is sent.
[[nodiscard]] bool is_of_the_message(rd_kafka_resp_err_t code) noexcept;

}  // namespace kafka
