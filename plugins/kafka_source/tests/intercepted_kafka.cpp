// SPDX-License-Identifier: Apache-2.0
// Functions with the names of librdkafka's in this program take precedence over those of the shared library.
#include "intercepted_kafka.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <span>

namespace kafka::test {

namespace {

interception calls;

template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

intercepted::intercepted() { calls = {}; }
intercepted::~intercepted() { calls = {}; }
interception* intercepted::operator->() const { return &calls; }

}  // namespace kafka::test

using kafka::test::calls;
using kafka::test::original;

extern "C" {

rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t* of, const rd_kafka_topic_partition_list_t* partitions) {
  if (calls.before_assign && partitions != nullptr) calls.before_assign(of, *partitions);
  const auto code = original<decltype(rd_kafka_assign)>("rd_kafka_assign")(of, partitions);
  if (calls.after_assign && partitions != nullptr) calls.after_assign(of, *partitions);
  return code;
}

rd_kafka_error_t* rd_kafka_incremental_assign(rd_kafka_t* of, const rd_kafka_topic_partition_list_t* partitions) {
  if (calls.before_assign) calls.before_assign(of, *partitions);
  auto* error = original<decltype(rd_kafka_incremental_assign)>("rd_kafka_incremental_assign")(of, partitions);
  if (calls.after_assign) calls.after_assign(of, *partitions);
  return error;
}

const char* rd_kafka_rebalance_protocol(rd_kafka_t* of) {
  if (calls.without_protocol) return nullptr;
  return original<decltype(rd_kafka_rebalance_protocol)>("rd_kafka_rebalance_protocol")(of);
}

ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t* queue, int timeout_ms, rd_kafka_message_t** messages,
                                     std::size_t size) {
  const auto got = original<decltype(rd_kafka_consume_batch_queue)>("rd_kafka_consume_batch_queue")(queue, timeout_ms,
                                                                                                    messages, size);
  if (!calls.is_missing || got <= 0) return got;
  const std::span all(messages, static_cast<std::size_t>(got));
  const auto kept = std::stable_partition(all.begin(), all.end(), [](const auto* m) {
    return m->err != RD_KAFKA_RESP_ERR_NO_ERROR || !calls.is_missing(*m);
  });
  std::for_each(kept, all.end(), rd_kafka_message_destroy);
  return kept - all.begin();
}

}  // extern "C"
