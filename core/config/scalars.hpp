// SPDX-License-Identifier: Apache-2.0
// Parse and format numbers, durations and sizes as used in configurations and on the command line.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace pl::config {

/// Parse a value. The message of a failure is the correction ("write 100ms or 100s"), or empty if none is clear.
[[nodiscard]] result<bool> parse_bool(std::string_view text);
[[nodiscard]] result<std::int64_t> parse_int(std::string_view text);
[[nodiscard]] result<double> parse_float(std::string_view text);
[[nodiscard]] result<std::int64_t> parse_duration(std::string_view text);  ///< nanoseconds: 100ms, 1h30m, 1.5s, 7d, 0
[[nodiscard]] result<std::int64_t> parse_size(std::string_view text);      ///< bytes: 512, 64KiB, 10MB

/// Return the shortest exact text: 1m30s, 4MiB.
[[nodiscard]] std::string format_duration(std::int64_t nanoseconds);
[[nodiscard]] std::string format_size(std::int64_t bytes);

}  // namespace pl::config
