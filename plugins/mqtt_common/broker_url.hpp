// SPDX-License-Identifier: Apache-2.0
// mqtt://user:password@host:port and its relatives.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace mqtt {

struct broker_url {
  bool tls = false;
  std::string host;  // without the brackets of an IPv6 address
  std::uint16_t port = 0;
  std::string user, password;

  // For people: host:port, never the password.
  [[nodiscard]] std::string name() const;
};

// mqtt:// and tcp:// (port 1883), mqtts:// and ssl:// (port 8883). User and password are percent-decoded.
pl::result<broker_url> parse_broker_url(std::string_view text);

}  // namespace mqtt
