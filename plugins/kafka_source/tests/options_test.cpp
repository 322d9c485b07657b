// SPDX-License-Identifier: Apache-2.0
#include "mock_kafka.hpp"

using pl::testing::config_fields;
using pl::testing::object;

namespace {

// What is said about these options, as "option: message" lines.
std::string complaints(config_fields options) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(), options);
  const auto status = i.create();
  CHECK((status == PL_OK) == host.errors().empty());
  return host.error_text();
}

}  // namespace

TEST_CASE("options: the least that is needed") {
  CHECK(complaints({{"brokers", "a:9092"}, {"topic", "t"}}).empty());
  CHECK(complaints({{"brokers", "a:9092"}, {"topics", pl::testing::list({"t", "^u[0-9]+$"})}}).empty());
}

TEST_CASE("options: all mistakes at once, each at its place") {
  const auto said = complaints({{"brokers", "a:nine"},
                                {"topic", "iot stream"},
                                {"group", ""},
                                {"instance", "pod 1"},
                                {"start", "yesterday"},
                                {"properties", object({{"enable.auto.commit", true}, {"sesion.timeout.ms", 10}})}});
  CHECK(said ==
        "brokers: the port of 'a:nine' is no number between 1 and 65535\n"
        "topic: 'iot stream' can't be a topic: Kafka allows letters, digits, '.', '_' and '-', not ' '\n"
        "group: a group needs a name; leave the option out to use the pipeline's\n"
        "instance: 'pod 1' can't be an instance's name: Kafka allows letters, digits, '.', '_' and '-'\n"
        "start: 'yesterday' is neither earliest nor latest nor a time such as 2026-11-01T06:00:00Z\n"
        "properties.enable.auto.commit: 'enable.auto.commit' is not yours to set: offsets are committed when the sinks "
        "have the records, never before\n"
        "properties.sesion.timeout.ms: librdkafka " +
            std::string(rd_kafka_version_str()) +
            " has no property 'sesion.timeout.ms'; did you mean 'session.timeout.ms'?");
}

TEST_CASE("options: topic and topics") {
  CHECK(complaints({{"brokers", "a"}}) == "topic: name the topic to read, or several as 'topics'");
  CHECK(complaints({{"brokers", "a"}, {"topic", "t"}, {"topics", pl::testing::list({"u"})}}) ==
        "topics: give either 'topic' or 'topics', not both");
  CHECK(complaints({{"brokers", "a"}, {"topics", pl::testing::list({"t", "^a["})}})
            .find("topics[1]: '^a[' is no regular") == 0);
}

TEST_CASE("options: columns of headers have names of their own") {
  CHECK(complaints(
            {{"brokers", "a:9092"}, {"topic", "t"}, {"header_columns", pl::testing::list({"id", "time", "", "id"})}}) ==
        "header_columns[1]: there is a column 'time' already\n"
        "header_columns[2]: a header's column needs a name\n"
        "header_columns[3]: 'id' is there twice");
}
