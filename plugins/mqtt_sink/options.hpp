// SPDX-License-Identifier: Apache-2.0
// The options of mqtt_sink, and the settings derived from them.
#pragma once

#include "topic.hpp"

#include <pipeline/payload_template.hpp>
#include <pipeline/plugin.hpp>

#include <mqtt_common/settings.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mqtt {
using namespace std::chrono_literals;  // NOLINT: within our own namespace

constexpr std::array<std::pair<std::string_view, unsafe_ids>, 2> choices(unsafe_ids) {
  return {{{"escape", unsafe_ids::escape}, {"reject", unsafe_ids::reject}}};
}

struct will_options {
  std::string topic, payload;
  int qos = 1;
  bool retain = true;

  static pl::option_table<will_options> table();
};

struct options {
  std::string url, topic;
  unsafe_ids ids = unsafe_ids::escape;
  int qos = 1;
  bool retain = false;
  std::optional<std::string> payload;
  protocol version = protocol::v3_1_1;
  std::string client_id, user, password;
  std::optional<std::uint32_t> max_in_flight;
  std::chrono::nanoseconds ack_timeout = 30s, connect_timeout = 10s, keep_alive = 60s;
  bool clean_session = true;
  std::chrono::nanoseconds session_expiry = 0s;
  pl::byte_size max_message{256ULL << 20U};
  std::uint32_t max_disconnects = 3;
  std::optional<tls_options> tls;
  std::optional<will_options> will;
  std::chrono::nanoseconds message_expiry = 0s;
  std::string content_type;
  std::map<std::string, std::string> user_properties;

  static pl::option_table<options> table();
};

// These functions throw pl::invalid_options with the name of the invalid option.
connection_settings connection_of(const options& o, const pl::context& ctx);
topic_template topic_of(const options& o);
pl::text_template text_of(const std::string& source, const std::string& option);
pl::payload_template payload_of(const std::string& source);
pl::text_template property_of(const std::string& source, const std::string& option);  // of a user property's value

}  // namespace mqtt
