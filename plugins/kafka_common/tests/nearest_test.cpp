// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <kafka_common/nearest.hpp>

#include <vector>

TEST_CASE("nearest: a misspelt name finds the one that was meant") {
  const std::vector<std::string> topics{"alerts", "iot-stream", "iot-stream-dead"};
  CHECK(kafka::nearest("iot-straem", topics) == "iot-stream");
  CHECK(kafka::nearest("alrets", topics) == "alerts");
  CHECK(kafka::nearest("iot-stream-de", topics) == "iot-stream-dead");
  CHECK(kafka::suggestion("iot_stream", topics) == "; did you mean 'iot-stream'?");
}

TEST_CASE("nearest: no guess where nothing is near") {
  const std::vector<std::string> topics{"alerts", "iot-stream"};
  CHECK_FALSE(kafka::nearest("payments", topics));
  CHECK(kafka::suggestion("payments", topics).empty());
  CHECK_FALSE(kafka::nearest("x", {}));
}
