// SPDX-License-Identifier: Apache-2.0
#include "position_record.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace kafka;

TEST_CASE("keys name the stream, and no two streams have one key") {
  const stream_id plain{"iot", "topic", "telemetry", "iot-stream/0"};
  CHECK(position_key(plain) == "position\niot\ntopic\ntelemetry\niot-stream/0");
  CHECK(state_key(plain, "alerts", "d1") == "state\niot\ntopic\ntelemetry\niot-stream/0\nalerts\nd1");
  CHECK(transactional_id(plain) == "pipeline-host/iot/topic/telemetry/iot-stream/0");
  const stream_id odd{"a", "b\nc", "d\\", "e"}, other{"a", "b", "c\nd\\", "e"};
  CHECK(position_key(odd) == "position\na\nb\\nc\nd\\\\\ne");
  CHECK(position_key(odd) != position_key(other));
}

TEST_CASE("an entry of the state is read back, whatever its bytes") {
  const stream_id s{"p", "s\n1", "src", "t/1"};
  const std::string key("\0\n\\x\xFF", 5);
  for (const std::string node : {"", "alerts", "a\nb\\"}) {
    const auto found = entry_of(s, state_key(s, node, key));
    REQUIRE(found);
    CHECK(found->first == node);
    CHECK(found->second == key);
  }
  CHECK_FALSE(entry_of(s, position_key(s)));
  CHECK_FALSE(entry_of({"p", "s\n1", "src", "t/11"}, state_key(s, "n", "k")));
  CHECK_FALSE(entry_of(s, "state\np\ns\\n1\nsrc\nt/1\nno-end"));
}

TEST_CASE("a standing as text; nothing else is taken for one") {
  const standing at{18'446'744'073'709'551'614U, 3, 77};
  CHECK(text_of(at) == R"({"next":18446744073709551614,"epoch":3,"token":77})");
  CHECK(standing_of(text_of(at)) == at);
  for (const auto* text :
       {"", "{}", R"({"next":1,"epoch":2})", R"({"next":1,"epoch":2,"token":3}x)",
        R"({"next":18446744073709551616,"epoch":2,"token":3})", R"({"next":-1,"epoch":2,"token":3})"})
    CHECK_FALSE(standing_of(text));
}

TEST_CASE("the streams of a topic have partitions of their own, which never change") {
  std::set<std::int32_t> seen;
  for (int i = 0; i < positions_partitions; ++i)
    seen.insert(partition_of({"iot", "store", "telemetry", "iot-stream/" + std::to_string(i)}));
  CHECK(seen.size() == positions_partitions);
  CHECK(*seen.begin() == 0);
  CHECK(*seen.rbegin() == positions_partitions - 1);
  // Written down here because what lies in a topic was placed by it.
  CHECK(partition_of({"iot", "store", "telemetry", "iot-stream/3"}) == 14);
  CHECK(partition_of({"bridge", "topic", "devices", "spool/0123456789abcdef"}) == 10);
  CHECK(partition_of({"p", "s", "f", "99999999999999999999"}) >= 0);
}
