// SPDX-License-Identifier: Apache-2.0
#include "conninfo.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace timescale {
namespace {

// Remove the quoted parts of a libpq message. libpq quotes the text that it cannot parse, which may be part of a
// password.
std::string without_quotations(std::string_view message) {
  std::string kept;
  bool inside = false;
  for (const char c : message) {
    if (c == '"') {
      inside = !inside;
      if (inside) kept += "...";
    } else if (!inside && c != '\n') {
      kept.push_back(c);
    }
  }
  return kept;
}

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\'' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

constexpr const char* how_to_escape =
    "; in a URL, encode special characters of a password: %40 for '@', %2F for '/', %23 for '#', %25 for '%'";

// Return whether the text is a port, or a comma-separated list with one port for each host.
bool are_ports(std::string_view text) {
  while (true) {
    const auto comma = std::min(text.find(','), text.size());
    const auto port = text.substr(0, comma);
    unsigned v = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), v);
    if (!port.empty() && (error != std::errc() || end != port.data() + port.size() || v == 0 || v > 65535))
      return false;
    if (comma == text.size()) return true;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

pl::result<conninfo> conninfo::parse(const std::string& written) {
  char* message = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> all(PQconninfoParse(written.c_str(), &message),
                                                                         PQconninfoFree);
  const std::unique_ptr<char, decltype(&PQfreemem)> text(message, PQfreemem);
  if (!all) {
    const auto why = without_quotations(message ? message : "out of memory");
    return pl::bad_option("url",
                          "url is neither a postgresql:// URL nor key=value pairs (" + why + ")" + how_to_escape);
  }
  conninfo c;
  for (const auto* o = all.get(); o->keyword != nullptr; ++o)
    if (o->val != nullptr) c.parameters_.emplace_back(o->keyword, o->val);
  // An invalid host or port in libpq's result is probably part of a password.
  const auto *host = c.find("host"), *port = c.find("port");
  if (host && host->find('@') != std::string::npos)
    return pl::bad_option("url", std::string("the host contains an '@'") + how_to_escape);
  if (port && !are_ports(*port))
    return pl::bad_option("url", std::string("the port is not a number from 1 to 65535") + how_to_escape);
  return c;
}

const std::string* conninfo::find(std::string_view key) const {
  const auto it = std::find_if(parameters_.begin(), parameters_.end(), [&](const auto& p) { return p.first == key; });
  return it == parameters_.end() ? nullptr : &it->second;
}

void conninfo::set_default(std::string_view key, std::string value) {
  if (!find(key)) parameters_.emplace_back(key, std::move(value));
}

void conninfo::set(std::string_view key, std::string value) {
  std::erase_if(parameters_, [&](const auto& p) { return p.first == key; });
  parameters_.emplace_back(key, std::move(value));
}

void conninfo::set_defaults(std::chrono::nanoseconds connect_timeout, std::string application_name) {
  set("client_encoding", "UTF8");  // the encoding of cells
  set_default("connect_timeout", std::to_string(std::chrono::ceil<std::chrono::seconds>(connect_timeout).count()));
  set_default("fallback_application_name", std::move(application_name));
  // Detect an unreachable peer within a minute, even while nothing is being sent.
  set_default("keepalives_idle", "30");
  set_default("keepalives_interval", "10");
  set_default("keepalives_count", "3");
  set_default("tcp_user_timeout", "60000");
}

std::string conninfo::secret_text() const {
  std::string text;
  for (const auto& [key, value] : parameters_) text += key + "='" + escaped(value) + "' ";
  return text;
}

std::string conninfo::shown() const {
  const auto part = [&](std::string_view key) {
    const auto* value = find(key);
    return value ? *value : std::string{};
  };
  const auto user = part("user"), port = part("port"), database = part("dbname"), service = part("service");
  auto host = part("host").empty() ? part("hostaddr") : part("host");
  if (host.empty()) host = service.empty() ? "the local server" : "service " + service;
  return (user.empty() ? "" : user + "@") + host + (port.empty() ? "" : ":" + port) +
         (database.empty() ? "" : "/" + database);
}

}  // namespace timescale
