// SPDX-License-Identifier: Apache-2.0
//
// The listen address of a server, as written in a configuration. Pure functions.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace pl::telemetry {

// `http.listen`: "127.0.0.1:9464", "[::1]:9464", "localhost:0" (any free port), ":9464" (all IPv4 addresses), "off".
struct listen_address {
  std::string host;
  std::uint16_t port = 0;
  bool off = false;
  bool operator==(const listen_address&) const = default;
};
result<listen_address> parse_listen(std::string_view text);
std::string to_string(const listen_address& address);

}  // namespace pl::telemetry
