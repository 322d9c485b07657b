// SPDX-License-Identifier: Apache-2.0
// The `url` option: checked without connecting, completed with what a long-lived connection needs, and shown without
// its secrets.
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
  // A postgresql:// URL or key=value pairs. The failure never repeats any part of what was written.
  static pl::result<conninfo> parse(const std::string& written);

  // Used where the user said nothing about `key`.
  void set_default(std::string_view key, std::string value);
  // Time-outs, keep-alive and a name in pg_stat_activity.
  void set_defaults(std::chrono::nanoseconds connect_timeout, std::string application_name);
  // Used whatever the user said.
  void set(std::string_view key, std::string value);

  // For libpq. Has the password in it: never for a log.
  [[nodiscard]] std::string secret_text() const;
  // user@host:port/database
  [[nodiscard]] std::string shown() const;

 private:
  [[nodiscard]] const std::string* find(std::string_view key) const;
  std::vector<std::pair<std::string, std::string>> parameters_;
};

}  // namespace timescale
