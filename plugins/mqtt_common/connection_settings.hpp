// SPDX-License-Identifier: Apache-2.0
// The settings of a connection: plain values that are set before the client is created and then stay constant.
#pragma once

#include "broker_url.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace mqtt {

enum class protocol { v3_1_1, v5 };

struct tls_settings {
  std::string ca, cert, key, key_password;
  bool verify = true;
};

struct will_message {
  std::string topic, payload;
  int qos = 0;
  bool retain = false;
};

struct connection_settings {
  broker_url url;
  protocol version = protocol::v3_1_1;
  std::string client_id, user, password;
  bool clean_session = true;
  std::chrono::seconds session_expiry{0}, keep_alive{60};
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(10);
  std::uint32_t max_in_flight = 100;  // subscribers with MQTT 5: limit of unacknowledged messages from the broker
  bool reconnects = true;             // automatically, while the connection is idle
  std::string store;                  // folder for QoS 2 messages between their two steps; empty: none
  tls_settings tls;                   // used if the URL requires TLS
  std::optional<will_message> will;
};

}  // namespace mqtt
