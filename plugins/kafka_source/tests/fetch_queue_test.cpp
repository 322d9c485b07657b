// SPDX-License-Identifier: Apache-2.0
#include "../fetch_queue.hpp"

#include "mock_kafka.hpp"

#include <pipeline/testing/fake_host.hpp>

using namespace kafka::test;

namespace {

// A consumer of one partition whose messages go to a fetch queue.
struct one_partition {
  one_partition() {
    cluster.create("iot-stream", 1);
    kafka::conf_ptr conf(rd_kafka_conf_new());
    for (const auto& [name, value] : {std::pair{"bootstrap.servers", cluster.servers()},
                                      {"group.id", "g"},
                                      {"enable.partition.eof", "true"},
                                      {"auto.offset.reset", "error"}})
      REQUIRE(rd_kafka_conf_set(conf.get(), name, value.c_str(), nullptr, 0) == RD_KAFKA_CONF_OK);
    auto made = kafka::client::create(RD_KAFKA_CONSUMER, std::move(conf), pl::context(&host.raw()));
    REQUIRE(made.ok());
    client = *made;
    queue.emplace(client);
    partition.reset(rd_kafka_queue_get_partition(client->get(), "iot-stream", 0));
    const auto list = kafka::make_partition_list();
    rd_kafka_topic_partition_list_add(list.get(), "iot-stream", 0)->offset = 0;
    REQUIRE(rd_kafka_assign(client->get(), list.get()) == RD_KAFKA_RESP_ERR_NO_ERROR);
    // Once the end of the partition is reported, fetching has begun, and librdkafka no longer changes where messages go.
    REQUIRE(eventually([&] {
      const kafka::message_ptr event(rd_kafka_consumer_poll(client->get(), 10));
      return event != nullptr && event->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    }));
    queue->attach(partition.get());
  }
  template <class Condition>
  static bool eventually(Condition&& holds) {
    for (const auto until = std::chrono::steady_clock::now() + 30s; !holds();)
      if (std::chrono::steady_clock::now() > until) return false;
    return true;
  }

  pl::testing::fake_host host;
  mock_kafka cluster;
  std::shared_ptr<kafka::client> client;
  std::optional<kafka::fetch_queue> queue;
  kafka::queue_ptr partition;
};

}  // namespace

// librdkafka signals the first entry of an empty queue only.
TEST_CASE("there is no wait while messages are left of those that were signalled together") {
  one_partition of;
  of.cluster.produce_numbers("iot-stream", 0, 0, 3);
  of.cluster.flush();
  REQUIRE(of.eventually([&] { return rd_kafka_queue_length(of.partition.get()) >= 3; }));
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) {
    of.queue->wait(1min);
    CHECK(of.queue->take(1, 1000)->messages().size() == 1);
  }
  CHECK(std::chrono::steady_clock::now() - began < 30s);
}
