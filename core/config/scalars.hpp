// SPDX-License-Identifier: Apache-2.0
// Text to numbers, durations and sizes, as configurations and the command line write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl::config {

/// A value, or why there is none.
template <typename Value>
struct parsed {
  std::optional<Value> value;
  std::string fix = {};  ///< what to write instead, if that is clear: "write 100ms or 100s"

  explicit operator bool() const { return value.has_value(); }
  const Value& operator*() const { return *value; }
};

[[nodiscard]] parsed<bool> parse_bool(std::string_view text);
[[nodiscard]] parsed<std::int64_t> parse_int(std::string_view text);
[[nodiscard]] parsed<double> parse_float(std::string_view text);
[[nodiscard]] parsed<std::int64_t> parse_duration(std::string_view text);  ///< nanoseconds: 100ms, 1h30m, 1.5s, 7d, 0
[[nodiscard]] parsed<std::int64_t> parse_size(std::string_view text);      ///< bytes: 512, 64KiB, 10MB

/// The shortest way to write it that loses nothing: 1m30s, 4MiB.
[[nodiscard]] std::string format_duration(std::int64_t nanoseconds);
[[nodiscard]] std::string format_size(std::int64_t bytes);

}  // namespace pl::config
