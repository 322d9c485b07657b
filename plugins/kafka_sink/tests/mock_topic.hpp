// SPDX-License-Identifier: Apache-2.0
// A Kafka cluster in this process (librdkafka's mock), a sink under a fake host, and the delivered messages.
#pragma once

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>
#include <kafka_common/handles.hpp>
#include <librdkafka/rdkafka_mock.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kafka::test {

struct arrived {
  std::int32_t partition;
  std::optional<std::string> key, value;
  std::int64_t time_ms;
  std::vector<std::pair<std::string, std::string>> headers;
};

class mock_topic {
 public:
  explicit mock_topic(int partitions = 1) : partitions_(partitions) {
    client_ = make_client(RD_KAFKA_PRODUCER, {{"test.mock.num.brokers", "1"}});
    cluster_ = rd_kafka_handle_mock_cluster(client_);
    REQUIRE(rd_kafka_mock_topic_create(cluster_, "out", partitions, 1) == RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  mock_topic(const mock_topic&) = delete;
  mock_topic& operator=(const mock_topic&) = delete;
  ~mock_topic() { rd_kafka_destroy(client_); }

  [[nodiscard]] std::string servers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  [[nodiscard]] rd_kafka_mock_cluster_t* cluster() const { return cluster_; }

  // Read the whole topic, partition by partition.
  [[nodiscard]] std::vector<arrived> read() const {
    auto* consumer = make_client(
        RD_KAFKA_CONSUMER, {{"bootstrap.servers", servers()}, {"group.id", "test"}, {"enable.partition.eof", "true"}});
    rd_kafka_poll_set_consumer(consumer);
    std::vector<arrived> all;
    for (std::int32_t p = 0; p < partitions_; ++p) {
      const auto list = make_partition_list();
      rd_kafka_topic_partition_list_add(list.get(), "out", p)->offset = 0;
      rd_kafka_assign(consumer, list.get());
      while (const auto m = message_ptr(rd_kafka_consumer_poll(consumer, 10'000))) {
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) break;
        REQUIRE(m->err == RD_KAFKA_RESP_ERR_NO_ERROR);
        all.push_back(copy(*m));
      }
    }
    rd_kafka_destroy(consumer);
    return all;
  }

 private:
  static rd_kafka_t* make_client(rd_kafka_type_t type,
                                 const std::vector<std::pair<std::string, std::string>>& settings) {
    auto* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    char why[512];
    for (const auto& [name, value] : settings)
      if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why, sizeof why) != RD_KAFKA_CONF_OK)
        throw std::runtime_error(why);
    auto* client = rd_kafka_new(type, conf, why, sizeof why);
    if (client == nullptr) throw std::runtime_error(why);
    return client;
  }
  static arrived copy(const rd_kafka_message_t& m) {
    const auto text = [](const void* p, std::size_t n) {
      return p == nullptr ? std::optional<std::string>{} : std::string(static_cast<const char*>(p), n);
    };
    arrived a{m.partition, text(m.key, m.key_len), text(m.payload, m.len), rd_kafka_message_timestamp(&m, nullptr), {}};
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return a;
    const char* name;
    const void* value;
    std::size_t size;
    for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++i)
      a.headers.emplace_back(name, std::string(static_cast<const char*>(value), size));
    return a;
  }
  int partitions_;
  rd_kafka_t* client_;
  rd_kafka_mock_cluster_t* cluster_;
};

inline const pl_component& component() {
  const auto* found = pl::testing::find_component(pl_plugin_v1, "kafka_sink");
  REQUIRE(found != nullptr);
  return *found;
}

// A started sink and its host.
class writer {
 public:
  writer(const std::string& servers, pl::testing::config_fields more) {
    pl::testing::config_fields options;
    options.emplace_back("brokers", servers);
    options.emplace_back("topic", "out");
    for (auto& field : more) options.push_back(std::move(field));
    sink = std::make_unique<pl::testing::instance>(host, component(), options);
    REQUIRE_MESSAGE(sink->create() == PL_OK, host.error_text());
    REQUIRE_MESSAGE(sink->start() == PL_OK, host.error_text());
  }
  pl::testing::fake_host host;
  std::unique_ptr<pl::testing::instance> sink;
};

}  // namespace kafka::test
