// SPDX-License-Identifier: Apache-2.0
// The options of http_sink, and the settings that are derived from them.
#pragma once

#include <pipeline/plugin.hpp>
#include <pipeline/text_template.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http_sink {
using namespace std::chrono_literals;  // NOLINT: within our own namespace

enum class method { post, put, patch };
constexpr std::array<std::pair<std::string_view, method>, 3> choices(method) {
  return {{{"POST", method::post}, {"PUT", method::put}, {"PATCH", method::patch}}};
}

enum class format { json_array, ndjson, json, raw };
constexpr std::array<std::pair<std::string_view, format>, 4> choices(format) {
  return {
      {{"json_array", format::json_array}, {"ndjson", format::ndjson}, {"json", format::json}, {"raw", format::raw}}};
}

enum class compression { none, gzip };
constexpr std::array<std::pair<std::string_view, compression>, 2> choices(compression) {
  return {{{"none", compression::none}, {"gzip", compression::gzip}}};
}

struct tls_options {
  std::string ca, cert, key, key_password;
  bool verify = true;
  static pl::option_table<tls_options> table();
};

struct options {
  std::string url;
  http_sink::method method = method::post;
  http_sink::format format = format::json_array;
  std::optional<std::string> payload;
  std::string content_type;
  std::map<std::string, std::string> headers;
  std::string token, user, password;
  http_sink::compression compression = compression::none;
  std::uint32_t max_rows = 1000;
  pl::byte_size max_body{1ULL << 20U};
  bool idempotency_key = true;
  std::string id_field;
  std::vector<int> reject_on = {400, 422};
  std::chrono::nanoseconds timeout = 30s, connect_timeout = 10s;
  std::optional<tls_options> tls;

  static pl::option_table<options> table();
};

// The parts of `url`. Only `name` may be logged.
struct target {
  std::string name;  // scheme, host and port; the path is left out because it can be a secret
  pl::text_template url;
  bool is_https = false;
  std::string user, password;
};

// These functions throw pl::invalid_options with the name of the invalid option.
target target_of(const options& o);
std::vector<std::pair<std::string, pl::text_template>> headers_of(const options& o);
void check_together(const options& o);

}  // namespace http_sink
