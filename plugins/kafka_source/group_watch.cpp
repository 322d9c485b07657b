// SPDX-License-Identifier: Apache-2.0
#include "group_watch.hpp"

#include <cstdint>

namespace kafka {

namespace {

constexpr const char* name = "group_watch";
constexpr std::int16_t join_group = 11, sync_group = 14;  // API keys of Kafka's protocol

group_watch::state& at(void* opaque) { return *static_cast<group_watch::state*>(opaque); }

// The two interceptors below run on librdkafka's threads, for every request of any kind.
rd_kafka_resp_err_t on_request(rd_kafka_t*, int, const char*, std::int32_t, std::int16_t api, std::int16_t,
                               std::int32_t, std::size_t, void* watched) {
  if (api == join_group) at(watched).joining = true;
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t on_response(rd_kafka_t*, int, const char*, std::int32_t, std::int16_t api, std::int16_t,
                                std::int32_t, std::size_t, std::int64_t, rd_kafka_resp_err_t error, void* watched) {
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return RD_KAFKA_RESP_ERR_NO_ERROR;
  at(watched).last_response = std::chrono::steady_clock::now();
  if (api == join_group) at(watched).responded = true;
  if (api == sync_group) at(watched).joining = false;
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t on_new(rd_kafka_t* handle, const rd_kafka_conf_t*, void* watched, char*, std::size_t) {
  rd_kafka_interceptor_add_on_request_sent(handle, name, on_request, watched);
  return rd_kafka_interceptor_add_on_response_received(handle, name, on_response, watched);
}

}  // namespace

void group_watch::install(rd_kafka_conf_t* conf) { rd_kafka_conf_interceptor_add_on_new(conf, name, on_new, &state_); }

}  // namespace kafka
