// SPDX-License-Identifier: Apache-2.0
// What the options of mqtt_source and mqtt_sink have in common.
#pragma once

#include <pipeline/plugin.hpp>

#include <mqtt_common/client.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mqtt {

constexpr std::array<std::pair<std::string_view, protocol>, 2> choices(protocol) {
  return {{{"3.1.1", protocol::v3_1_1}, {"5", protocol::v5}}};
}

struct tls_options {
  std::string ca, cert, key, key_password;
  bool verify = true;

  static pl::option_table<tls_options> table();
};

// Where and as whom to connect.
struct login {
  std::string url, user, password;
  std::optional<tls_options> tls;
};

// Fills in URL, user, password and TLS. Throws pl::invalid_options, naming the option at fault.
void log_in(connection_settings& to, const login& with);

// The id of this client: `source`, in which {placeholder} stands for the number of the instance; where it is empty an id that
// is the same after a restart and another on any other machine. Throws pl::invalid_options.
[[nodiscard]] std::string client_id_of(const std::string& source, std::string_view placeholder, const pl::context& ctx);

[[nodiscard]] std::chrono::seconds whole_seconds(std::chrono::nanoseconds d);  // rounded up

}  // namespace mqtt
