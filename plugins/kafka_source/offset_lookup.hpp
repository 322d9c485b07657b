// SPDX-License-Identifier: Apache-2.0
// Offset queries to the brokers. Each query blocks until the broker responds, or until a time-out.
#pragma once

#include "partition.hpp"
#include "start_policy.hpp"

#include <pipeline/result.hpp>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kafka {

struct watermarks {
  std::int64_t low, high;  // the first offset that the broker has, and the next one that it will assign
};

class offset_lookup {
 public:
  explicit offset_lookup(rd_kafka_t* handle) : handle_(handle) {}

  // Set `committed` and `committed_with` of each partition; unknown_offset if the group has no committed offset.
  pl::result<void> committed(std::span<partition* const> of) const;
  // Return the partitions that have no committed offset. Changes none of them.
  pl::result<std::vector<partition*>> without_commit(const std::vector<partition*>& of) const;
  // Return all partitions of a topic, each with its committed offset.
  pl::result<std::vector<std::unique_ptr<partition>>> partitions_of(const std::string& topic) const;
  // Return the number of the topic's partitions; 0 if the topic does not exist.
  pl::result<std::int32_t> partition_count(const std::string& topic) const;
  pl::result<watermarks> ends(const partition& of, std::chrono::milliseconds timeout = std::chrono::seconds(5)) const;
  // Return the start offset of a partition without a committed offset.
  pl::result<std::int64_t> start(const partition& of, const start_policy& policy) const;
  // Return the end as of the last fetch, without a query to the broker.
  [[nodiscard]] std::int64_t known_end(const partition& of) const noexcept;

 private:
  pl::result<std::int64_t> at_time(const partition& of, std::int64_t time_ms) const;
  rd_kafka_t* handle_;
};

}  // namespace kafka
