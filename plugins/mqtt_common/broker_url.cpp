// SPDX-License-Identifier: Apache-2.0
#include "broker_url.hpp"

#include <pipeline/host_port.hpp>
#include <pipeline/text.hpp>

#include <algorithm>
#include <optional>

namespace mqtt {
namespace {

// Percent-decode a text. Reject NUL, which would end the text for C libraries.
std::optional<std::string> decoded(std::string_view text) {
  auto out = pl::percent_decode(text);
  return out && out->find('\0') == std::string::npos ? out : std::nullopt;
}

pl::failure wrong(const std::string& what) {
  return pl::fatal(what + "; use for example mqtt://broker.example:1883 or mqtts://broker.example:8883");
}

// Return the scheme for a message only if it looks like one: it may be part of a password.
std::string named(std::string_view scheme) {
  const bool is_one = !scheme.empty() && scheme.size() <= 10 && std::all_of(scheme.begin(), scheme.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-';
  });
  return is_one ? " '" + std::string(scheme) + "'" : "";
}

pl::result<void> take_user(std::string_view info, broker_url& to) {
  const auto colon = info.find(':');
  auto user = decoded(info.substr(0, colon));
  auto password = decoded(colon == std::string_view::npos ? std::string_view{} : info.substr(colon + 1));
  if (!user || !password)
    return wrong("the user or password in the URL has a '%' that is not a percent-encoding (write it as %25)");
  to.user = std::move(*user);
  to.password = std::move(*password);
  return {};
}

pl::result<void> take_host(std::string_view place, broker_url& to) {
  std::string_view port;
  if (place.starts_with('[')) {
    const auto close = place.find(']');
    if (close == std::string_view::npos) return wrong("the '[' before the IPv6 address is not closed");
    to.host = place.substr(1, close - 1);
    port = place.substr(close + 1);
  } else {
    const auto colon = place.rfind(':');
    to.host = place.substr(0, colon);
    if (colon != std::string_view::npos) port = place.substr(colon);
    if (to.host.find(':') != std::string::npos)
      return wrong("an IPv6 address must be in brackets, as in mqtt://[::1]:1883");
  }
  if (to.host.empty()) return wrong("the URL has no host");
  if (port.empty()) return {};
  to.port = pl::parse_port(port.substr(1)).value_or(0);
  if (port.front() != ':' || to.port == 0)
    return wrong("the port after the host's ':' is not a number from 1 to 65535");  // not shown: may be a password
  return {};
}

}  // namespace

std::string broker_url::name() const { return pl::to_string(pl::host_port{host, port}); }

std::string broker_url::identity() const {
  std::string lower = host;
  for (auto& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const bool this_machine = lower == "localhost" || lower == "::1";
  return pl::to_string(pl::host_port{this_machine ? "127.0.0.1" : lower, port});
}

pl::result<broker_url> parse_broker_url(std::string_view text) {
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return wrong("the URL has no scheme");
  const auto scheme = text.substr(0, scheme_end);
  broker_url url;
  if (scheme == "mqtts" || scheme == "ssl")
    url.tls = true;
  else if (scheme != "mqtt" && scheme != "tcp")
    return wrong("unknown scheme" + named(scheme) + "; use mqtt, tcp, mqtts or ssl");
  url.port = url.tls ? 8883 : 1883;
  auto rest = text.substr(scheme_end + 3);
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    if (auto r = take_user(rest.substr(0, at), url); !r) return r.why();
    rest.remove_prefix(at + 1);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#") != std::string_view::npos) return wrong("the URL must end after the host and port");
  if (auto r = take_host(rest, url); !r) return r.why();
  return url;
}

}  // namespace mqtt
