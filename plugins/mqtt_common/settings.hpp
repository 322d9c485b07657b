// SPDX-License-Identifier: Apache-2.0
// The options that mqtt_source and mqtt_sink have in common.
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

// The broker address and the credentials.
struct login {
  std::string url, user, password;
  std::optional<tls_options> tls;
};

// Set URL, user, password and TLS. Throws pl::invalid_options with the name of the invalid option.
void log_in(connection_settings& to, const login& with);

// Return the client id: `source`, in which {placeholder} stands for the number of the instance. If `source` is empty,
// return an id that stays the same after a restart and differs between machines. Throws pl::invalid_options.
[[nodiscard]] std::string client_id_of(const std::string& source, std::string_view placeholder, const pl::context& ctx);

[[nodiscard]] std::chrono::seconds whole_seconds(std::chrono::nanoseconds d);  // rounded up

}  // namespace mqtt
