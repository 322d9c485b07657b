// SPDX-License-Identifier: Apache-2.0
#include "../../mqtt_sink/tests/broker.hpp"
#include "../intake.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

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

TEST_CASE("the built plugin passes the conformance checks") {
  for (const auto& problem : pl::testing::check_plugin(plugin())) FAIL_CHECK(problem);
}

TEST_CASE("the life cycle passes the conformance checks") {
  mqtt::testing::broker broker;
  broker.start();
  for (const auto& problem :
       pl::testing::check_life(*plugin().components[0], {{"url", broker.url()}, {"topic", "t/#"}}))
    FAIL_CHECK(problem);
}

TEST_CASE("the source reports whether it is connected, and while it is, the end of its spool") {
  mqtt::testing::broker broker;
  broker.start();
  pl::testing::fake_host host;
  pl::testing::temp_dir state;
  const auto directory = state.path().string();
  host.raw().state_dir = pl::borrow(directory);
  pl::testing::instance source(host, *plugin().components[0], {{"url", broker.url()}, {"topic", "t/#"}});
  REQUIRE(source.create() == PL_OK);
  REQUIRE_MESSAGE(source.start() == PL_OK, host.error_text());
  const auto polled_until = [&](const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      pl::batch none;
      REQUIRE(source.poll(none, 100, 1000, std::chrono::milliseconds(10)) == PL_AGAIN);
    }
    return done();
  };
  CHECK(polled_until([&] { return host.observed_ends().size() > 3; }));
  CHECK(host.observed_ends().back().stream == host.assigned_streams().front());
  CHECK(host.receptions().back().empty());
  broker.stop();
  CHECK(polled_until([&] { return !host.receptions().back().empty(); }));
  CHECK(host.receptions().back().find(std::to_string(broker.port())) != std::string::npos);
  broker.start();
  CHECK(polled_until([&] { return host.receptions().back().empty(); }));
  CHECK(source.stop() == PL_OK);
  CHECK_FALSE(host.receptions().back().empty());
}

TEST_CASE("the message id depends on topic and payload") {
  // SHA-256 of topic, NUL and payload. Stored messages, and readers of the topic, depend on it.
  CHECK(mqtt::message_id("a", "b") == "59b271ae1bbcb1d31d41929817f4b16f");
  CHECK(mqtt::message_id("a", "b") == mqtt::message_id("a", "b"));
  CHECK(mqtt::message_id("a", "b") != mqtt::message_id("ab", ""));
  CHECK(mqtt::message_id("a", "b") != mqtt::message_id("a", "c"));
  CHECK(mqtt::message_id("", "").size() == 32);
}

TEST_CASE("an invalid record is not decoded") {
  CHECK(!mqtt::decode(""));
  CHECK(!mqtt::decode("0123456789"));
  CHECK(!mqtt::decode(std::string("01234567\1\xFF\xFF", 11) + "topic"));
}
