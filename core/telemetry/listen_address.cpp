// SPDX-License-Identifier: Apache-2.0
#include "telemetry/listen_address.hpp"

#include "telemetry/text.hpp"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

namespace pl::telemetry {
namespace {

failure bad_listen(std::string_view text) {
  return fatal(fmt::format("'{}' is not a valid listen address: write 127.0.0.1:9464, [::1]:9464, :9464 or off",
                           valid_utf8(cut_bytes(text, 100))));
}

}  // namespace

result<listen_address> parse_listen(std::string_view text) {
  if (text == "off") return listen_address{{}, 0, true};
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return bad_listen(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // Without brackets it is unknown where an IPv6 address ends and the port begins.
  if (!bracketed && host.find_first_of(":[]") != host.npos) return bad_listen(text);
  listen_address where{host.empty() || host == "*" ? "0.0.0.0" : std::string(host), 0, false};
  const auto [end, failure] = std::from_chars(port.data(), port.data() + port.size(), where.port);
  if (failure != std::errc() || end != port.data() + port.size()) return bad_listen(text);
  return where;
}

std::string to_string(const listen_address& address) {
  if (address.off) return "off";
  const bool ipv6 = address.host.find(':') != address.host.npos;
  return ipv6 ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
}

}  // namespace pl::telemetry
