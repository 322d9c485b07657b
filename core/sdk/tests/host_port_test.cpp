// SPDX-License-Identifier: Apache-2.0
#include <pipeline/host_port.hpp>

#include <doctest/doctest.h>

TEST_CASE("valid addresses are parsed") {
  CHECK(pl::parse_host_port("127.0.0.1:9464") == pl::host_port{"127.0.0.1", 9464});
  CHECK(pl::parse_host_port("[::1]:9464") == pl::host_port{"::1", 9464});
  CHECK(pl::parse_host_port("localhost:0") == pl::host_port{"localhost", 0});
  CHECK(pl::parse_host_port(":65535") == pl::host_port{"", 65535});
  CHECK(pl::parse_host_port("*:80") == pl::host_port{"*", 80});
}

TEST_CASE("invalid addresses are rejected") {
  for (const auto* bad : {"", "9464", "host", "host:", ":", "host:65536", "host:-1", "host:+1", "host: 1", "host:1x",
                          "::1:80", "[::1]", "[]:80", "[::1:80", "::1]:80", "[[::1]]:80", "a b:80", "http://host:80"})
    CHECK_MESSAGE(!pl::parse_host_port(bad), bad);
}

TEST_CASE("addresses survive a round trip through text") {
  for (const auto* text : {"127.0.0.1:9464", "[::1]:9464", ":80"})
    CHECK(pl::to_string(*pl::parse_host_port(text)) == text);
}

TEST_CASE("valid ports are parsed, and invalid ones are rejected") {
  CHECK(pl::parse_port("0") == 0);
  CHECK(pl::parse_port("65535") == 65535);
  for (const auto* bad : {"", "65536", "-1", " 1", "1 ", "0x1"}) CHECK_FALSE(pl::parse_port(bad));
}
