// SPDX-License-Identifier: Apache-2.0
// Owning pointers for librdkafka's objects.
#pragma once

#include <pipeline/freed_by.hpp>

#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>

namespace kafka {

using conf_ptr = std::unique_ptr<rd_kafka_conf_t, pl::freed_by<rd_kafka_conf_destroy>>;
using queue_ptr = std::unique_ptr<rd_kafka_queue_t, pl::freed_by<rd_kafka_queue_destroy>>;
using topic_ptr = std::unique_ptr<rd_kafka_topic_t, pl::freed_by<rd_kafka_topic_destroy>>;
using message_ptr = std::unique_ptr<rd_kafka_message_t, pl::freed_by<rd_kafka_message_destroy>>;
using error_ptr = std::unique_ptr<rd_kafka_error_t, pl::freed_by<rd_kafka_error_destroy>>;
using partition_list_ptr =
    std::unique_ptr<rd_kafka_topic_partition_list_t, pl::freed_by<rd_kafka_topic_partition_list_destroy>>;

[[nodiscard]] inline partition_list_ptr make_partition_list(int capacity = 8) {
  return partition_list_ptr(rd_kafka_topic_partition_list_new(capacity));
}
[[nodiscard]] inline std::string text_of(rd_kafka_resp_err_t code) { return rd_kafka_err2str(code); }

}  // namespace kafka
