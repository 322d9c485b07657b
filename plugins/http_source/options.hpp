// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/plugin.hpp>

#include <spool_common/options.hpp>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http {

enum class body_format { automatic, json, ndjson, raw };
constexpr std::array<std::pair<std::string_view, body_format>, 4> choices(body_format) {
  return {{{"auto", body_format::automatic},
           {"json", body_format::json},
           {"ndjson", body_format::ndjson},
           {"raw", body_format::raw}}};
}

enum class invalid_body { refuse, accept };
constexpr std::array<std::pair<std::string_view, invalid_body>, 2> choices(invalid_body) {
  return {{{"refuse", invalid_body::refuse}, {"accept", invalid_body::accept}}};
}

struct tls_options {
  std::string cert, key, key_password, ca;
  static pl::option_table<tls_options> table();
};

struct source_options {
  std::string listen = "127.0.0.1:8080";
  std::string path = "/telemetry";
  body_format format = body_format::automatic;
  invalid_body invalid = invalid_body::refuse;
  std::optional<std::string> token;
  std::vector<std::string> tokens;
  std::string user, password;
  std::map<std::string, std::string> headers;
  std::string id_header = "Idempotency-Key";
  std::optional<tls_options> tls;
  pl::byte_size max_body{8ULL << 20U};
  std::uint32_t max_records = 10'000, max_connections = 1000, max_connections_per_address = 0;
  std::chrono::nanoseconds timeout = std::chrono::seconds(30), idle_timeout = std::chrono::seconds(60);
  std::chrono::nanoseconds retry_after = std::chrono::seconds(2);
  spool::options spool;

  static pl::option_table<source_options> table();
};

}  // namespace http
