// SPDX-License-Identifier: Apache-2.0
#include "../../mqtt_sink/tests/broker.hpp"
#include "../intake.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace {

const pl_plugin& plugin() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* found = pl::testing::load_plugin(std::string(directory) + "/mqtt_source.so", error);
  REQUIRE_MESSAGE(found != nullptr, error);
  return *found;
}

}  // namespace

TEST_CASE("the built plugin is whole") {
  for (const auto& problem : pl::testing::check_plugin(plugin())) FAIL_CHECK(problem);
}

TEST_CASE("a life under odd requests") {
  mqtt::testing::broker broker;
  broker.start();
  for (const auto& problem :
       pl::testing::check_life(*plugin().components[0], {{"url", broker.url()}, {"topic", "t/#"}}))
    FAIL_CHECK(problem);
}

TEST_CASE("ids are those of topic and payload") {
  CHECK(mqtt::message_id("a", "b") == mqtt::message_id("a", "b"));
  CHECK(mqtt::message_id("a", "b") != mqtt::message_id("ab", ""));
  CHECK(mqtt::message_id("a", "b") != mqtt::message_id("a", "c"));
  CHECK(mqtt::message_id("", "").size() == 32);
}

TEST_CASE("a record that is none is not decoded") {
  CHECK(!mqtt::decode(""));
  CHECK(!mqtt::decode("0123456789"));
  CHECK(!mqtt::decode(std::string("01234567\1\xFF\xFF", 11) + "topic"));
}
