// SPDX-License-Identifier: Apache-2.0
#include "mock_kafka.hpp"

using pl::testing::config_fields;
using pl::testing::object;

namespace {

// Return the errors for these options as "option: message" lines.
std::string errors_of(config_fields options) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, kafka::test::component(), options);
  const auto status = i.create();
  CHECK((status == PL_OK) == host.errors().empty());
  return host.error_text();
}

}  // namespace

TEST_CASE("options: the required options are sufficient") {
  CHECK(errors_of({{"brokers", "a:9092"}, {"topic", "t"}}).empty());
  CHECK(errors_of({{"brokers", "a:9092"}, {"topics", pl::testing::list({"t", "^u[0-9]+$"})}}).empty());
}

TEST_CASE("options: every error is reported under its option") {
  const auto errors = errors_of({{"brokers", "a:nine"},
                                 {"topic", "iot stream"},
                                 {"group", ""},
                                 {"instance", "pod 1"},
                                 {"start", "yesterday"},
                                 {"properties", object({{"enable.auto.commit", true}, {"sesion.timeout.ms", 10}})}});
  CHECK(errors ==
        "brokers: the port of 'a:nine' is not a number between 1 and 65535\n"
        "topic: 'iot stream' is not a valid topic name: Kafka allows letters, digits, '.', '_' and '-', not ' '\n"
        "group: must not be empty; omit the option to use the pipeline's name\n"
        "instance: 'pod 1' is not a valid instance name: Kafka allows letters, digits, '.', '_' and '-'\n"
        "start: 'yesterday' is neither earliest nor latest nor a time such as 2026-11-01T06:00:00Z\n"
        "properties.enable.auto.commit: 'enable.auto.commit' cannot be set: the source commits offsets only after "
        "every sink has the records\n"
        "properties.sesion.timeout.ms: librdkafka " +
            std::string(rd_kafka_version_str()) +
            " has no property 'sesion.timeout.ms'; did you mean 'session.timeout.ms'?");
}

TEST_CASE("options: topic and topics") {
  CHECK(errors_of({{"brokers", "a"}}) == "topic: set the topic to read, or a list of topics in 'topics'");
  CHECK(errors_of({{"brokers", "a"}, {"topic", "t"}, {"topics", pl::testing::list({"u"})}}) ==
        "topics: set either 'topic' or 'topics', not both");
  CHECK(errors_of({{"brokers", "a"}, {"topics", pl::testing::list({"t", "^a["})}})
            .find("topics[1]: '^a[' is not a valid regular") == 0);
}

TEST_CASE(
    "exclusive/1: the topics in the group, once for each, whatever the order of the brokers; other lanes report none") {
  const auto uses = [](config_fields options, std::uint32_t lane) {
    pl::testing::fake_host host;
    host.raw().lanes = 2;
    host.raw().lane = lane;
    pl::testing::instance i(host, kafka::test::component(), options);
    REQUIRE(i.create() == PL_OK);
    const auto* table = static_cast<const pl_ext_exclusive*>(
        kafka::test::component().extension(i.self(), pl::borrow(PL_EXT_EXCLUSIVE)));
    REQUIRE(table != nullptr);
    std::vector<std::string> all;
    const auto add = [](void* to, pl_str kind, pl_str name, pl_str option) {
      static_cast<std::vector<std::string>*>(to)->push_back(
          std::string(pl::view(kind)) + " " + std::string(pl::view(name)) + " (" + std::string(pl::view(option)) + ")");
    };
    CHECK(table->uses(i.self(), &all, add) == PL_OK);
    return all;
  };
  const config_fields options{
      {"brokers", "b:9092,a:9092"}, {"group", "g"}, {"topics", pl::testing::list({"u", "t", "u"})}};
  CHECK(uses(options, 0) == std::vector<std::string>{"Kafka topic 't' in the group 'g' at a:9092,b:9092 (topics)",
                                                     "Kafka topic 'u' in the group 'g' at a:9092,b:9092 (topics)"});
  CHECK(uses(options, 1).empty());
}

TEST_CASE("options: names of header columns are unique and not empty") {
  CHECK(errors_of(
            {{"brokers", "a:9092"}, {"topic", "t"}, {"header_columns", pl::testing::list({"id", "time", "", "id"})}}) ==
        "header_columns[1]: the source already has a column 'time'\n"
        "header_columns[2]: must not be empty\n"
        "header_columns[3]: 'id' is listed twice");
}
