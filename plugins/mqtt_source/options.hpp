// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <mqtt_common/settings.hpp>
#include <spool_common/options.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mqtt {

enum class retained_messages { take, skip };
constexpr std::array<std::pair<std::string_view, retained_messages>, 2> choices(retained_messages) {
  return {{{"take", retained_messages::take}, {"skip", retained_messages::skip}}};
}

struct source_options {
  std::string url;
  std::optional<std::string> topic;
  std::vector<std::string> topics;
  int qos = 1;
  std::optional<std::string> segments;
  retained_messages retained = retained_messages::take;
  protocol version = protocol::v3_1_1;
  std::string client_id, user, password;
  std::uint32_t max_in_flight = 1000;
  bool clean_session = false;
  std::chrono::nanoseconds session_expiry = std::chrono::hours(24);
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(10), keep_alive = std::chrono::seconds(60);
  std::optional<tls_options> tls;
  spool::options spool;

  static pl::option_table<source_options> table();
};

// Throws pl::invalid_options with the name of the invalid option.
connection_settings connection_of(const source_options& o, const pl::context& ctx);
// Return the filters to subscribe to. Throws pl::invalid_options with the name of the invalid option.
std::vector<std::string> filters_of(const source_options& o, const pl::context& ctx);

}  // namespace mqtt
