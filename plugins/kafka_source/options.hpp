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
#include <utility>
#include <vector>

namespace kafka {

// What to do when the partition does not have, or no longer has, the position to read.
enum class out_of_range { earliest, latest, stop };
constexpr std::array<std::pair<std::string_view, out_of_range>, 3> choices(out_of_range) {
  return {{{"earliest", out_of_range::earliest}, {"latest", out_of_range::latest}, {"stop", out_of_range::stop}}};
}

// What to do with a record without a value.
enum class tombstones { emit, skip };
constexpr std::array<std::pair<std::string_view, tombstones>, 2> choices(tombstones) {
  return {{{"emit", tombstones::emit}, {"skip", tombstones::skip}}};
}

struct source_options {
  std::string brokers;
  std::optional<std::string> topic;
  std::vector<std::string> topics;
  std::optional<std::string> group;
  std::string instance = "auto";
  std::string start = "earliest";
  out_of_range on_out_of_range = out_of_range::earliest;
  kafka::tombstones tombstones = kafka::tombstones::emit;
  std::vector<std::string> header_columns;
  std::chrono::nanoseconds commit_interval = std::chrono::milliseconds(500);
  std::optional<tls_options> tls;
  std::optional<sasl_options> sasl;
  property_map properties;

  static pl::option_table<source_options> table();
};

}  // namespace kafka
