// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <doctest/doctest.h>

TEST_CASE("statistics: the values that become metrics") {
  const auto s = kafka::parse_statistics(R"({"rx_bytes": 4096, "brokers": {
    "a:9092/1": {"state": "UP", "rtt": {"avg": 1500}}, "b:9092/2": {"state": "UP", "rtt": {"avg": 2500}},
    "bootstrap": {"state": "DOWN"}},
    "topics": {"t": {"partitions": {
      "0": {"partition": 0, "leader": 2, "consumer_lag": 12, "fetchq_cnt": 7, "fetchq_size": 900},
      "1": {"partition": 1, "consumer_lag": -1, "fetchq_cnt": 7, "fetchq_size": 900},
      "-1": {"partition": -1, "consumer_lag": 99}}}}})");
  REQUIRE(s);
  CHECK(s->received_bytes == 4096);
  CHECK(s->connected_brokers == 2);
  CHECK(s->slowest_round_trip == doctest::Approx(0.0025));
  CHECK(s->queued_messages == 7);
  CHECK(s->queued_bytes == 900);
  REQUIRE(s->partitions.size() == 2);
  CHECK(s->partitions[0].topic == "t");
  CHECK(s->partitions[0].leader == 2);
  CHECK(s->partitions[1].leader == -1);
  CHECK(s->partitions[0].lag == 12);
  CHECK(s->partitions[1].lag == -1);
}

TEST_CASE("statistics: unexpected documents are tolerated") {
  CHECK_FALSE(kafka::parse_statistics(""));
  CHECK_FALSE(kafka::parse_statistics("[]"));
  CHECK(kafka::parse_statistics("{}"));
  CHECK(kafka::parse_statistics(R"({"brokers": [], "topics": {"t": {"partitions": {"0": 1}}, "u": 2}})"));
}
