// SPDX-License-Identifier: Apache-2.0
#include "group_watch.hpp"

namespace kafka {

namespace {

constexpr const char* name = "group_watch";
constexpr std::int16_t join_group = 11, sync_group = 14;  // API keys of Kafka's protocol

std::atomic<bool>& flag(void* opaque) { return *static_cast<std::atomic<bool>*>(opaque); }

// Both run in librdkafka's threads, for every request of any kind.
rd_kafka_resp_err_t on_request(rd_kafka_t*, int, const char*, std::int32_t, std::int16_t api, std::int16_t,
                               std::int32_t, std::size_t, void* joining) {
  if (api == join_group) flag(joining) = true;
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t on_response(rd_kafka_t*, int, const char*, std::int32_t, std::int16_t api, std::int16_t,
                                std::int32_t, std::size_t, std::int64_t, rd_kafka_resp_err_t error, void* joining) {
  if (api == sync_group && error == RD_KAFKA_RESP_ERR_NO_ERROR) flag(joining) = false;
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t on_new(rd_kafka_t* handle, const rd_kafka_conf_t*, void* joining, char*, std::size_t) {
  rd_kafka_interceptor_add_on_request_sent(handle, name, on_request, joining);
  return rd_kafka_interceptor_add_on_response_received(handle, name, on_response, joining);
}

}  // namespace

void group_watch::install(rd_kafka_conf_t* conf) {
  rd_kafka_conf_interceptor_add_on_new(conf, name, on_new, &joining_);
}

}  // namespace kafka
