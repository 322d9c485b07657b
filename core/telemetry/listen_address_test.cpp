// SPDX-License-Identifier: Apache-2.0
#include "telemetry/listen_address.hpp"

#include <doctest/doctest.h>

namespace pl::telemetry {
namespace {

TEST_CASE("addresses") {
  CHECK(*parse_listen("127.0.0.1:9464") == listen_address{"127.0.0.1", 9464, false});
  CHECK(*parse_listen("[::1]:9464") == listen_address{"::1", 9464, false});
  CHECK(*parse_listen("localhost:0") == listen_address{"localhost", 0, false});
  CHECK(*parse_listen(":9464") == listen_address{"0.0.0.0", 9464, false});
  CHECK(*parse_listen("*:9464") == listen_address{"0.0.0.0", 9464, false});
  CHECK(parse_listen("off")->off);
  for (const auto* bad : {"", "9464", "::1:9464", "host:", "host:x", "host:70000", "host:-1", "[::1]", "host:80 "}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_listen(bad));
  }
  CHECK(parse_listen("9464").why().message ==
        "'9464' is not a valid listen address: write 127.0.0.1:9464, [::1]:9464, :9464 or off");
}

}  // namespace
}  // namespace pl::telemetry
