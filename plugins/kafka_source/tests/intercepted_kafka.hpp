// SPDX-License-Identifier: Apache-2.0
// Calls into librdkafka that a test can delay or alter.
#pragma once

#include <librdkafka/rdkafka.h>

#include <functional>

namespace kafka::test {

struct interception {
  using around_assign = std::function<void(rd_kafka_t*, const rd_kafka_topic_partition_list_t&)>;
  around_assign before_assign, after_assign;                  // with the thread and the arguments of the call
  std::function<bool(const rd_kafka_message_t&)> is_missing;  // drops records that were fetched
  bool without_protocol = false;                              // as if the group had ended
};

// The destructor ends the interception.
class intercepted {
 public:
  intercepted();
  intercepted(const intercepted&) = delete;
  intercepted& operator=(const intercepted&) = delete;
  ~intercepted();
  interception* operator->() const;
};

}  // namespace kafka::test
