// SPDX-License-Identifier: Apache-2.0
// What the row assembler asks of whoever fetched the messages: a member of the group, or a replay.
#pragma once

#include "partition.hpp"

#include <cstdint>

namespace kafka {

class message_origin {
 public:
  virtual ~message_origin() = default;
  // The partition that a message belongs to; null where it isn't wanted (any more, or yet).
  [[nodiscard]] virtual partition* reading(const rd_kafka_message_t& message) = 0;
  // An event that came among the messages: the end of a partition, an offset out of range, an error.
  virtual void on_fetch_event(const rd_kafka_message_t& event) = 0;
  [[nodiscard]] virtual const partition_table& partitions() const noexcept = 0;
  // For the range that ends at `next`: where the partition ends; PL_UNKNOWN.
  [[nodiscard]] virtual std::uint64_t end_of(const partition& p, std::int64_t next) const noexcept = 0;
};

}  // namespace kafka
