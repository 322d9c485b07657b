// SPDX-License-Identifier: Apache-2.0
// Arithmetic and text of timestamps and durations, within the ranges of the language: years 1 to 9999, and 64 bits of
// nanoseconds.
#pragma once

#include "cel_common/value.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl::cel {

// Return the timestamp; std::nullopt if the year is not in 1 to 9999.
[[nodiscard]] std::optional<value> make_timestamp(std::int64_t seconds, std::int64_t nanoseconds) noexcept;
// Read a time by RFC 3339, such as 2026-11-24T18:10:23.5+01:00.
[[nodiscard]] std::optional<value> read_timestamp(std::string_view text) noexcept;
void append_timestamp(std::string& out, const value& timestamp);

// Read a duration such as 1h30m, -1.5s, 250ms or 0.
[[nodiscard]] std::optional<value> read_duration(std::string_view text) noexcept;
void append_duration(std::string& out, const value& duration);  // 90.5s

// Return timestamp + factor * duration, with a factor of 1 or -1.
[[nodiscard]] std::optional<value> shifted(const value& timestamp, const value& duration, int factor) noexcept;
[[nodiscard]] std::optional<value> difference(const value& timestamp, const value& earlier) noexcept;

}  // namespace pl::cel
