// SPDX-License-Identifier: Apache-2.0
// Nanoseconds since the epoch to and from RFC 3339 text.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl {

namespace detail {

inline void append_padded(std::string& out, std::uint64_t v, int width) {
  std::array<char, 20> digits;
  int n = 0;
  do {
    digits[static_cast<std::size_t>(n++)] = static_cast<char>('0' + v % 10);
    v /= 10;
  } while (v != 0);
  out.append(static_cast<std::size_t>(width > n ? width - n : 0), '0');
  while (n > 0) out.push_back(digits[static_cast<std::size_t>(--n)]);
}

}  // namespace detail

// Appends e.g. 2026-11-24T18:10:23.5Z: UTC, as many digits of a second as there are. Any int64 is a year from 1677 to 2262.
inline void append_rfc3339(std::string& out, std::int64_t ns) {
  using namespace std::chrono;
  constexpr std::int64_t day_ns = 86'400'000'000'000;
  const std::int64_t day =
      ns / day_ns - (ns % day_ns < 0 ? 1 : 0);  // floor; the first day's begin is no int64 of nanoseconds
  const year_month_day date{sys_days(days(static_cast<int>(day)))};
  const auto in_day = static_cast<std::uint64_t>(ns % day_ns + (ns % day_ns < 0 ? day_ns : 0));
  detail::append_padded(out, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
  out.push_back('-');
  detail::append_padded(out, static_cast<unsigned>(date.month()), 2);
  out.push_back('-');
  detail::append_padded(out, static_cast<unsigned>(date.day()), 2);
  out.push_back('T');
  const auto seconds = in_day / 1'000'000'000;
  detail::append_padded(out, seconds / 3600, 2);
  out.push_back(':');
  detail::append_padded(out, seconds / 60 % 60, 2);
  out.push_back(':');
  detail::append_padded(out, seconds % 60, 2);
  if (const auto fraction = in_day % 1'000'000'000; fraction != 0) {
    out.push_back('.');
    detail::append_padded(out, fraction, 9);
    while (out.back() == '0') out.pop_back();
  }
  out.push_back('Z');
}

[[nodiscard]] inline std::string rfc3339(std::int64_t ns) {
  std::string out;
  append_rfc3339(out, ns);
  return out;
}

}  // namespace pl
