// SPDX-License-Identifier: Apache-2.0
// Addresses in their written form: host:port, [::1]:port, :port.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace pl {

struct host_port {
  std::string host;  // without brackets; empty if the text has none
  std::uint16_t port = 0;
  bool operator==(const host_port&) const = default;
};

// Parse a port: decimal digits, 0 to 65535.
[[nodiscard]] inline std::optional<std::uint16_t> parse_port(std::string_view digits) noexcept {
  std::uint16_t port = 0;
  const auto* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, port);
  return error == std::errc{} && stop == end ? std::optional(port) : std::nullopt;
}

// Split at the last ':', which a port must follow. An IPv6 address needs brackets, because its end is ambiguous without
// them. The host is not resolved.
[[nodiscard]] inline std::optional<host_port> parse_host_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  auto host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!port || host.find_first_of(bracketed ? "[]/ " : ":[]/ ") != std::string_view::npos) return std::nullopt;
  return host_port{std::string(host), *port};
}

// Return host:port, with brackets around an IPv6 address.
[[nodiscard]] inline std::string to_string(const host_port& address) {
  const bool ipv6 = address.host.find(':') != std::string::npos;
  return (ipv6 ? "[" + address.host + "]:" : address.host + ":") + std::to_string(address.port);
}

}  // namespace pl
