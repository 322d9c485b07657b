// SPDX-License-Identifier: Apache-2.0
// Parser for broker URLs such as mqtt://user:password@host:port.
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

  // Return host:port for messages, without the password.
  [[nodiscard]] std::string name() const;
  // Like name(), but equal for different spellings of one host: letter case, and the names of this machine.
  [[nodiscard]] std::string identity() const;
};

// Parse a URL: mqtt:// and tcp:// (port 1883), mqtts:// and ssl:// (port 8883). User and password are percent-decoded.
pl::result<broker_url> parse_broker_url(std::string_view text);

}  // namespace mqtt
