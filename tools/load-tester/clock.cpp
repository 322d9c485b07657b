// SPDX-License-Identifier: Apache-2.0
#include "clock.hpp"

#include <charconv>

namespace pl::load {
namespace {

std::optional<int> digits(std::string_view text, std::size_t at, std::size_t count) {
  int value = 0;
  const auto* begin = text.data() + at;
  const auto [end, error] = std::from_chars(begin, begin + count, value);
  if (error != std::errc{} || end != begin + count || value < 0) return std::nullopt;
  return value;
}

// ".25" to 250000
std::optional<std::int64_t> fraction(std::string_view text) {
  if (text.empty()) return 0;
  if (text.front() != '.' || text.size() < 2) return std::nullopt;
  std::int64_t us = 0, unit = 100'000;
  for (const char c : text.substr(1)) {
    if (c < '0' || c > '9') return std::nullopt;
    us += unit * (c - '0');
    unit /= 10;
  }
  return us;
}

}  // namespace

std::optional<std::int64_t> parse_utc(std::string_view text) {
  constexpr std::string_view form = "0000-00-00T00:00:00";
  if (text.size() <= form.size() || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i)
    if (form[i] != '0' && form[i] != text[i]) return std::nullopt;
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  const auto us = fraction(text.substr(form.size(), text.size() - form.size() - 1));
  if (!year || !month || !day || !hour || !minute || !second || !us) return std::nullopt;
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const auto days = sys_days(date).time_since_epoch().count();
  return ((std::int64_t{days} * 24 + *hour) * 60 + *minute) * 60'000'000 + *second * 1'000'000LL + *us;
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
