// SPDX-License-Identifier: Apache-2.0
// The values from librdkafka's statistics that the plugin uses (a JSON document every statistics.interval.ms).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kafka {

struct partition_statistics {
  std::string topic;
  std::int32_t partition = 0;
  std::int32_t leader = -1;  // id of the broker; -1: unknown
  std::int64_t lag = -1;     // records between the committed offset and the end; -1: unknown
};

struct statistics {
  std::int64_t received_bytes = 0;   // from the brokers, since the start
  std::int64_t queued_messages = 0;  // fetched and not yet polled
  std::int64_t queued_bytes = 0;
  std::int64_t connected_brokers = 0;
  double slowest_round_trip = 0;  // seconds, the greatest mean of any broker
  std::vector<partition_statistics> partitions;
};

[[nodiscard]] std::optional<statistics> parse_statistics(std::string_view json);

}  // namespace kafka
