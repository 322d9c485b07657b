// SPDX-License-Identifier: Apache-2.0
// Ask the brokers for the ends of partitions, or for their first records after a time. A new leader reports an error until its end has reached the previous
// leader's (KIP-207), so an end never goes back while the topic exists, unless replicas have lost records.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace kafka {

struct end_target {
  std::string topic;
  std::int32_t partition;
  std::int32_t leader;                       // -1: unknown
  std::int64_t query = RD_KAFKA_OFFSET_END;  // or a time in ms since 1970: the first record at or after it
  bool operator==(const end_target&) const = default;
};

struct log_end {
  std::string topic;
  std::int32_t partition;
  std::int64_t end;  // or the offset of the record; RD_KAFKA_OFFSET_END if there is none
};

// Query partitions of one leader. If one partition fails, librdkafka returns none. Waits for the response.
[[nodiscard]] std::vector<log_end> ends_at_leader(rd_kafka_t* client, std::span<const end_target> of, int timeout_ms);

// Call `visit` with the targets of each leader. The targets are sorted by leader.
void for_each_leader(std::span<const end_target> sorted, const std::function<void(std::span<const end_target>)>& visit);

// The same for partitions of any leader. Those whose leader does not respond are missing from the result.
[[nodiscard]] std::vector<log_end> log_ends(rd_kafka_t* client, std::vector<end_target> of, int timeout_ms);

}  // namespace kafka
