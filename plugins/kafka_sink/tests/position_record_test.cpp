// SPDX-License-Identifier: Apache-2.0
#include "position_record.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace kafka;

TEST_CASE("keys identify the stream, and two streams have different keys") {
  const stream_id plain{"iot", "topic", "telemetry", "iot-stream/0"};
  CHECK(position_key(plain) == "position\niot\ntopic\ntelemetry\niot-stream/0");
  CHECK(state_key(plain, "alerts", "d1") == "state\niot\ntopic\ntelemetry\niot-stream/0\nalerts\nd1");
  CHECK(transactional_id(plain) == "pipeline-host/iot/topic/telemetry/iot-stream/0");
  const stream_id odd{"a", "b\nc", "d\\", "e"}, other{"a", "b", "c\nd\\", "e"};
  CHECK(position_key(odd) == "position\na\nb\\nc\nd\\\\\ne");
  CHECK(position_key(odd) != position_key(other));
}

TEST_CASE("a state entry with any bytes is read back") {
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

TEST_CASE("the streams of a source are found by their keys, and those of other sources are not") {
  const stream_id s{"p", "s\n1", "src", "t\n/1\\"}, source{"p", "s\n1", "src", ""};
  CHECK(stream_of(source, position_key(s)) == s.stream);
  CHECK(stream_of(source, state_key(s, "alerts", "k\nk")) == s.stream);
  CHECK(stream_of(source, state_key(s, "", "")) == s.stream);
  for (const stream_id& other :
       {stream_id{"p", "s\n1", "src2", "t"}, {"p", "s", "src", "t"}, {"q", "s\n1", "src", "t"}}) {
    CHECK_FALSE(stream_of(source, position_key(other)));
    CHECK_FALSE(stream_of(source, state_key(other, "n", "k")));
  }
  CHECK_FALSE(stream_of(source, "other\np\ns\\n1\nsrc\nt"));
}

TEST_CASE("a position is written and parsed; other texts are rejected") {
  const stream_position at{18'446'744'073'709'551'614U, 3, 77};
  CHECK(text_of(at) == R"({"next":18446744073709551614,"epoch":3,"token":77})");
  CHECK(parse_position(text_of(at)) == at);
  for (const auto* text :
       {"", "{}", R"({"next":1,"epoch":2})", R"({"next":1,"epoch":2,"token":3}x)",
        R"({"next":18446744073709551616,"epoch":2,"token":3})", R"({"next":-1,"epoch":2,"token":3})"})
    CHECK_FALSE(parse_position(text));
}

TEST_CASE("the streams of a topic have different partitions, which never change") {
  std::set<std::int32_t> seen;
  for (int i = 0; i < positions_partitions; ++i)
    seen.insert(partition_of({"iot", "store", "telemetry", "iot-stream/" + std::to_string(i)}));
  CHECK(seen.size() == positions_partitions);
  CHECK(*seen.begin() == 0);
  CHECK(*seen.rbegin() == positions_partitions - 1);
  // These values must not change: they are the location of stored records.
  CHECK(partition_of({"iot", "store", "telemetry", "iot-stream/3"}) == 14);
  CHECK(partition_of({"bridge", "topic", "devices", "spool/0123456789abcdef"}) == 10);
  CHECK(partition_of({"p", "s", "f", "99999999999999999999"}) >= 0);
}
