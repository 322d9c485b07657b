// SPDX-License-Identifier: Apache-2.0
#include "mock_kafka.hpp"

#include <cstdlib>

TEST_CASE("the built plugin passes the conformance checks") {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(directory) + "/kafka_source.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : pl::testing::check_plugin(*plugin)) FAIL_CHECK(problem);
}

TEST_CASE("the life cycle passes the conformance checks") {
  kafka::test::mock_kafka kafka;
  kafka.create("iot-stream", 2);
  kafka.produce_numbers("iot-stream", 0, 0, 100);
  kafka.flush();
  for (const auto& problem : pl::testing::check_life(
           kafka::test::component(), {{"brokers", kafka.servers()}, {"topic", "iot-stream"}, {"instance", "dynamic"}}))
    FAIL_CHECK(problem);
}
