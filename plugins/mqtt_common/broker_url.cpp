// SPDX-License-Identifier: Apache-2.0
#include "broker_url.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace mqtt {
namespace {

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const auto high = i + 1 < text.size() ? hex_digit(text[i + 1]) : std::nullopt;
    const auto low = i + 2 < text.size() ? hex_digit(text[i + 2]) : std::nullopt;
    if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
    out.push_back(static_cast<char>(*high << 4U | *low));
    i += 2;
  }
  return out;
}

pl::failure wrong(const std::string& what) {
  return pl::fatal(what + "; write e.g. mqtt://broker.example:1883 or mqtts://broker.example:8883");
}

// Only what is a scheme: anything else before a "://" may be part of a password.
std::string named(std::string_view scheme) {
  const bool is_one = !scheme.empty() && scheme.size() <= 10 && std::all_of(scheme.begin(), scheme.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-';
  });
  return is_one ? " '" + std::string(scheme) + "'" : "";
}

pl::result<void> take_user(std::string_view info, broker_url& to) {
  const auto colon = info.find(':');
  auto user = percent_decode(info.substr(0, colon));
  auto password = percent_decode(colon == std::string_view::npos ? std::string_view{} : info.substr(colon + 1));
  if (!user || !password)
    return wrong("the user or password in the URL has a '%' that is no percent-encoding (write it as %25)");
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
      return wrong("an IPv6 address goes into brackets, as in mqtt://[::1]:1883");
  }
  if (to.host.empty()) return wrong("the URL names no host");
  if (port.empty()) return {};
  const auto digits = port.substr(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), to.port);
  if (port.front() != ':' || digits.empty() || error != std::errc{} || end != digits.data() + digits.size() ||
      to.port == 0)
    return wrong("what stands behind the host's ':' is no port, a number from 1 to 65535");  // a password it may be
  return {};
}

}  // namespace

std::string broker_url::name() const {
  std::string text;
  if (host.find(':') == std::string::npos)
    text = host;
  else
    text.append("[").append(host).append("]");
  return text.append(":").append(std::to_string(port));
}

pl::result<broker_url> parse_broker_url(std::string_view text) {
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return wrong("the URL has no scheme");
  const auto scheme = text.substr(0, scheme_end);
  broker_url url;
  if (scheme == "mqtts" || scheme == "ssl")
    url.tls = true;
  else if (scheme != "mqtt" && scheme != "tcp")
    return wrong("unknown scheme" + named(scheme) + "; there are mqtt, tcp, mqtts and ssl");
  url.port = url.tls ? 8883 : 1883;
  auto rest = text.substr(scheme_end + 3);
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    if (auto r = take_user(rest.substr(0, at), url); !r) return r.why();
    rest.remove_prefix(at + 1);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#") != std::string_view::npos) return wrong("behind the host and port nothing may follow");
  if (auto r = take_host(rest, url); !r) return r.why();
  return url;
}

}  // namespace mqtt
