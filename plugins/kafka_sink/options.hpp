// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/options.hpp>

#include <kafka_common/properties.hpp>
#include <kafka_common/security.hpp>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

enum class value_format { json, raw };
constexpr std::array<std::pair<std::string_view, value_format>, 2> choices(value_format) {
  return {{{"json", value_format::json}, {"raw", value_format::raw}}};
}

enum class codec { none, gzip, snappy, lz4, zstd };
constexpr std::array<std::pair<std::string_view, codec>, 5> choices(codec) {
  return {{{"none", codec::none},
           {"gzip", codec::gzip},
           {"snappy", codec::snappy},
           {"lz4", codec::lz4},
           {"zstd", codec::zstd}}};
}

struct sink_options {
  std::string brokers, topic;
  std::optional<std::string> key;
  value_format format = value_format::json;
  std::map<std::string, std::string> headers;
  std::optional<std::string> time;
  codec compression = codec::lz4;
  std::chrono::nanoseconds delivery_timeout = std::chrono::seconds(30), transaction_timeout = std::chrono::seconds(10);
  std::string positions_topic = "pipeline-host-positions";
  std::optional<tls_options> tls;
  std::optional<sasl_options> sasl;
  property_map properties;

  static pl::option_table<sink_options> table();
};

}  // namespace kafka
