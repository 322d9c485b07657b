// SPDX-License-Identifier: Apache-2.0
// The assignment of librdkafka: the partitions that it fetches, each from an offset. Use on the thread that serves the
// consumer.
#pragma once

#include "partition.hpp"

#include <pipeline/context.hpp>

#include <kafka_common/client.hpp>

#include <memory>
#include <utility>

namespace kafka {

class assignment {
 public:
  assignment(std::shared_ptr<client> with, pl::context ctx, const partition_table& table)
      : client_(std::move(with)), ctx_(ctx), table_(table) {}

  // Respond to a rebalance. A partition that keeps its place in the assignment but cannot be fetched from its position
  // now changes to phase::moving.
  void add(rd_kafka_topic_partition_list_t& list);
  void remove(rd_kafka_topic_partition_list_t& list);

  // Fetch p from that offset on. Return false if this is not possible now; retry soon.
  bool seek(partition& p, std::int64_t from);
  // Like seek, but by a new assignment, for a fetcher that has stopped (offset out of range) or not started, which
  // cannot seek.
  bool restart(partition& p, std::int64_t from);

 private:
  [[nodiscard]] bool cooperative();
  void rewind_kept(const rd_kafka_topic_partition_list_t& changing);

  std::shared_ptr<client> client_;
  pl::context ctx_;
  const partition_table& table_;
  bool cooperative_ = true, ended_ = false;  // when librdkafka was asked last
};

}  // namespace kafka
