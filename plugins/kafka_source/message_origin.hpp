// SPDX-License-Identifier: Apache-2.0
// The interface between the row assembler and the class that fetched the messages: a group member or a replay.
#pragma once

#include "partition.hpp"

#include <cstdint>

namespace kafka {

class message_origin {
 public:
  virtual ~message_origin() = default;
  // Return the partition of a message; null if the partition is not, or not yet, to be read.
  [[nodiscard]] virtual partition* reading(const rd_kafka_message_t& message) = 0;
  // Handle an event found among the messages: end of a partition, offset out of range, or an error.
  virtual void on_fetch_event(const rd_kafka_message_t& event) = 0;
  [[nodiscard]] virtual const partition_table& partitions() const noexcept = 0;
  // Return the end of the partition for a range that ends at `next`; PL_UNKNOWN if it is not known.
  [[nodiscard]] virtual std::uint64_t end_of(const partition& p, std::int64_t next) const noexcept = 0;
};

}  // namespace kafka
