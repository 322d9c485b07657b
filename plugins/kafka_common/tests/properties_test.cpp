// SPDX-License-Identifier: Apache-2.0
#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>
#include <kafka_common/properties.hpp>

#include <algorithm>
#include <array>

namespace {

constexpr std::array<kafka::owned_property, 1> owned{{{"group.id", "use the option 'group'"}}};

struct fixture {
  pl::testing::fake_host host;
  pl::context ctx{&host.raw()};
  kafka::properties properties{ctx};
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "properties: every scalar type is converted to librdkafka's text form") {
  CHECK(properties.set_all(
      {{"session.timeout.ms", std::int64_t{7000}}, {"enable.partition.eof", true}, {"client.id", std::string("me")}},
      owned));
  CHECK(properties.get("session.timeout.ms") == "7000");
  CHECK(properties.get("enable.partition.eof") == "true");
  CHECK(properties.get("client.id") == "me");
  CHECK(kafka::property_text(0.5) == "0.5");
}

TEST_CASE_FIXTURE(fixture, "properties: every error is reported under its property") {
  CHECK_FALSE(properties.set_all({{"session.timeout", std::int64_t{1}},
                                  {"session.timeout.ms", std::string("soon")},
                                  {"group.id", std::string("g")}},
                                 owned));
  const auto errors = host.errors();
  REQUIRE(errors.size() == 3);
  CHECK(errors[0].option == "properties.group.id");
  CHECK(errors[0].detail == "'group.id' cannot be set: use the option 'group'");
  CHECK(errors[1].option == "properties.session.timeout");
  CHECK(errors[1].detail.find("did you mean 'session.timeout.ms'?") != std::string::npos);
  CHECK(errors[2].option == "properties.session.timeout.ms");
}

TEST_CASE("properties: librdkafka's names include aliases") {
  const auto names = kafka::known_properties();
  for (const auto* name : {"linger.ms", "session.timeout.ms", "acks", "bootstrap.servers"})
    CHECK_MESSAGE(std::count(names.begin(), names.end(), name) > 0, name);
  CHECK(std::none_of(names.begin(), names.end(), [](const auto& n) { return n.find('|') != std::string::npos; }));
}

TEST_CASE_FIXTURE(fixture, "brokers: host:port, lists, IPv6 and schemes are accepted") {
  for (const auto* good : {"a:9092", "a", "a:9092,b:9093", "a:9092, b:9093", "[::1]:9092", "SASL_SSL://a:9092"})
    CHECK_MESSAGE(kafka::check_brokers(ctx, good), good);
  CHECK(host.errors().empty());
  for (const auto* bad : {"", "a:9092,", "a:", "a:port", "a:70000", ":9092", "a:0"})
    CHECK_FALSE_MESSAGE(kafka::check_brokers(ctx, bad), bad);
  CHECK(host.errors().size() == 7);
  CHECK(host.errors().front().option == "brokers");
}

TEST_CASE("topics: names follow Kafka's rules") {
  CHECK(kafka::topic_name_fault("iot-stream_1.x").empty());
  CHECK(kafka::topic_name_fault("") == "the topic name is empty");
  CHECK_FALSE(kafka::topic_name_fault("iot stream").empty());
  CHECK_FALSE(kafka::topic_name_fault("..").empty());
  CHECK_FALSE(kafka::topic_name_fault(std::string(250, 'a')).empty());
}
