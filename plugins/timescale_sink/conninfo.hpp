// SPDX-License-Identifier: Apache-2.0
// The `url` option: parsed without connecting, completed with defaults for a long-lived connection, and shown in logs
// without its secrets.
#pragma once

#include <pipeline/result.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace timescale {

class conninfo {
 public:
  // Parse a postgresql:// URL or key=value pairs. The failure never contains any part of the input.
  static pl::result<conninfo> parse(const std::string& written);

  // Set a parameter unless the user has set it.
  void set_default(std::string_view key, std::string value);
  // Set defaults for timeouts, keep-alive and the name in pg_stat_activity.
  void set_defaults(std::chrono::nanoseconds connect_timeout, std::string application_name);
  // Set a parameter; replace a value that the user has set.
  void set(std::string_view key, std::string value);

  // Return the connection string for libpq. It contains the password and must not be logged.
  [[nodiscard]] std::string secret_text() const;
  // user@host:port/database
  [[nodiscard]] std::string shown() const;

 private:
  [[nodiscard]] const std::string* find(std::string_view key) const;
  std::vector<std::pair<std::string, std::string>> parameters_;
};

}  // namespace timescale
