// SPDX-License-Identifier: Apache-2.0
// The command line.
#pragma once

#include "connection.hpp"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace pl::load {

enum exit_code : int { exit_fine = 0, exit_lost = 1, exit_usage = 2, exit_unreachable = 3, exit_aborted = 130 };

struct options {
  broker_options broker;
  std::string database = "postgresql://postgres:postgres@127.0.0.1:6432/telemetry";
  std::string table = "raw_telemetry", extra_column = "extra";
  std::string alerts_topic = "users/+/devices/+/alerts", rule = "overheating";
  std::vector<std::string> dead_letters;
  std::string run, device_prefix;

  std::uint32_t users = 30, devices_per_user = 3, connections = 0;
  double rate = 200;
  std::int64_t duration_ns = 0, ramp_ns = 0, burst_every_ns = 0;
  std::uint64_t count = 0, burst = 0, seed = 1;
  int qos = 1;
  std::size_t window = 0;
  double duplicates = 0, reorder = 0, broken = 0, silent = 0, anomalies = 0;
  double threshold = 80, clear = 75;

  bool verify = false, one_row_each = false, json = false, quiet = false, find_limit = false;
  std::int64_t settle_ns = 0, trial_ns = 0, max_latency_ns = 0;
};

// Return the options, or the exit code if the help or an error message has been printed.
std::variant<options, int> parse_options(int argc, const char* const* argv);

}  // namespace pl::load
