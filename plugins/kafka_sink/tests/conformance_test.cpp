// SPDX-License-Identifier: Apache-2.0
#include "mock_topic.hpp"

#include <cstdlib>

TEST_CASE("the built plugin passes the conformance checks") {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(directory) + "/kafka_sink.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  for (const auto& problem : pl::testing::check_plugin(*plugin)) FAIL_CHECK(problem);
}

TEST_CASE("the life cycle passes the conformance checks") {
  const kafka::test::mock_topic topic;
  for (const auto& problem : pl::testing::check_life(
           kafka::test::component(), {{"brokers", topic.servers()}, {"topic", "out"}, {"key", "{value}"}}))
    FAIL_CHECK(problem);
}
