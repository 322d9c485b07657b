// SPDX-License-Identifier: Apache-2.0
#include "clock.hpp"

#include <pipeline/time.hpp>

#include <charconv>

namespace pl::load {

std::optional<std::int64_t> parse_utc(std::string_view text) {
  constexpr std::size_t date = 10;
  if (text.size() <= date || text[date] != 'T' || text.back() != 'Z') return std::nullopt;
  const auto time = read_rfc3339(text);
  if (!time) return std::nullopt;
  return time->seconds * 1'000'000 + time->fraction_in(6);
}

std::optional<std::int64_t> parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !(value >= 0)) return std::nullopt;
  const auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
  double ns = 0;
  if (unit == "ms")
    ns = 1e6;
  else if (unit.empty() || unit == "s")
    ns = 1e9;
  else if (unit == "m")
    ns = 60e9;
  else if (unit == "h")
    ns = 3600e9;
  else
    return std::nullopt;
  if (value * ns > 9e18) return std::nullopt;
  return static_cast<std::int64_t>(value * ns);
}

}  // namespace pl::load
