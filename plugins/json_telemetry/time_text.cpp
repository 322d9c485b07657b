// SPDX-License-Identifier: Apache-2.0
#include "time_text.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <limits>

namespace json_telemetry {

namespace {

constexpr std::string_view beyond_range = "outside the years 1677 to 2262, the range of nanoseconds in 64 bits";
constexpr std::string_view no_time = "not a time: expected ISO 8601 (2026-11-24T18:00:00Z) or a number";
constexpr std::int64_t second_ns = 1'000'000'000;

time_result failed(std::string_view problem) noexcept { return {0, problem, time_unit::automatic}; }

// Return the decimal places between the unit and nanoseconds.
constexpr std::int32_t places(time_unit unit) noexcept {
  switch (unit) {
    case time_unit::milliseconds:
      return 6;
    case time_unit::microseconds:
      return 3;
    case time_unit::nanoseconds:
      return 0;
    default:
      return 9;
  }
}

constexpr auto powers_of_ten = [] {
  std::array<std::uint64_t, decimal::max_digits + 1> all{1};
  for (std::size_t i = 1; i < all.size(); ++i) all[i] = all[i - 1] * 10;
  return all;
}();

// Return digits * 10^exponent, truncated to an integer; nothing if it does not fit into 64 bits without a sign.
std::optional<std::uint64_t> scaled(std::uint64_t digits, std::int64_t exponent) noexcept {
  if (digits == 0) return 0;
  if (exponent < -decimal::max_digits) return 0;
  for (; exponent < 0; ++exponent) digits /= 10;
  if (exponent > decimal::max_digits) return std::nullopt;
  if (exponent > 0 && __builtin_mul_overflow(digits, powers_of_ten[static_cast<std::size_t>(exponent)], &digits))
    return std::nullopt;
  return digits;
}

time_unit detected_unit(const decimal& number) noexcept {
  const auto whole = scaled(number.digits, number.exponent);
  if (!whole || *whole >= 100'000'000'000'000'000) return time_unit::nanoseconds;
  if (*whole >= 100'000'000'000'000) return time_unit::microseconds;
  if (*whole >= 100'000'000'000) return time_unit::milliseconds;
  return time_unit::seconds;
}

// A cursor in the text. All functions leave the cursor unchanged if nothing matches.
class reader {
 public:
  explicit reader(std::string_view text) noexcept : rest_(text) {}
  [[nodiscard]] bool done() const noexcept { return rest_.empty(); }
  [[nodiscard]] char next() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }
  bool skip(char c) noexcept {
    if (next() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool skip_any(std::string_view these) noexcept {
    if (rest_.empty() || these.find(next()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  [[nodiscard]] bool at_digit() const noexcept { return next() >= '0' && next() <= '9'; }
  [[nodiscard]] std::size_t digits_ahead() const noexcept {
    std::size_t n = 0;
    while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') ++n;
    return n;
  }
  // Read exactly n digits.
  bool number(int n, int& to) noexcept {
    const auto count = static_cast<std::size_t>(n);
    if (rest_.size() < count) return false;
    int v = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return false;
      v = v * 10 + (rest_[i] - '0');
    }
    to = v;
    rest_.remove_prefix(count);
    return true;
  }
  // Read the digits of a fraction of a second, and discard digits beyond nanoseconds.
  std::int64_t fraction() noexcept {
    std::int64_t ns = 0;
    int taken = 0;
    for (; at_digit(); rest_.remove_prefix(1))
      if (taken < 9) {
        ns = ns * 10 + (next() - '0');
        ++taken;
      }
    for (; taken < 9; ++taken) ns *= 10;
    return ns;
  }

 private:
  std::string_view rest_;
};

struct clock_time {
  int hour = 0, minute = 0, second = 0;
  std::int64_t ns = 0;
};

// Read an offset such as +hh, +hhmm or +hh:mm, in seconds east of UTC.
bool read_offset(reader& in, std::int32_t& to) noexcept {
  const bool west = in.next() == '-';
  int hours = 0, minutes = 0;
  if (!in.skip_any("+-") || !in.number(2, hours)) return false;
  if (in.skip(':') ? !in.number(2, minutes) : in.at_digit() && !in.number(2, minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  to = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
  return true;
}

std::string_view read_date(reader& in, std::chrono::sys_days& to, bool& basic) noexcept {
  using namespace std::chrono;
  const auto digits = in.digits_ahead();
  if (in.next() == '+' || in.next() == '-' || (digits > 4 && digits != 8)) {
    // Years with five or more digits, or before year 0, are out of range.
    in.skip_any("+-");
    return in.digits_ahead() >= 4 && in.digits_ahead() <= 6 ? beyond_range : no_time;
  }
  int y = 0, m = 0, d = 0;
  if (!in.number(4, y)) return no_time;
  basic = !in.skip('-');
  if (!in.number(2, m)) return no_time;
  if (!basic && !in.skip('-')) return no_time;
  if (!in.number(2, d)) return no_time;
  const year_month_day date{year{y}, month{static_cast<unsigned>(m)}, day{static_cast<unsigned>(d)}};
  if (!date.ok()) return "not a valid date";
  if (y < 1677 || y > 2262) return beyond_range;
  to = date;
  return {};
}

std::string_view read_clock(reader& in, clock_time& to, bool basic) noexcept {
  if (!in.number(2, to.hour)) return no_time;
  if (basic ? in.at_digit() : in.skip(':')) {
    if (!in.number(2, to.minute)) return no_time;
    if (basic ? in.at_digit() : in.skip(':')) {
      if (!in.number(2, to.second)) return no_time;
      if (in.skip_any(".,")) {
        if (!in.at_digit()) return no_time;
        to.ns = in.fraction();
      }
    }
  } else {
    return no_time;  // an hour alone is ambiguous
  }
  const bool end_of_day = to.hour == 24 && to.minute == 0 && to.second == 0 && to.ns == 0;
  if ((to.hour > 23 && !end_of_day) || to.minute > 59 || to.second > 60) return "not a valid time of day";
  return {};
}

std::string_view read_zone(reader& in, const zone_policy& zone, std::int32_t& offset) noexcept {
  in.skip(' ');
  if (in.done()) {
    if (zone.reject) return "a time without a zone, which time.zone rejects";
    offset = zone.offset_seconds;
    return {};
  }
  if (in.skip_any("Zz")) return in.done() ? std::string_view{} : no_time;
  return read_offset(in, offset) && in.done() ? std::string_view{} : no_time;
}

time_result combined(std::chrono::sys_days day, const clock_time& clock, std::int32_t offset) noexcept {
  const auto of_day = (clock.hour * 60 + clock.minute) * 60 + clock.second;
  const std::int64_t seconds = std::int64_t{day.time_since_epoch().count()} * 86'400 + of_day - offset;
  // Leap seconds are at the end of a UTC day, in any time zone.
  if (clock.second == 60 && seconds % 86'400 != 0)
    return failed("a second 60 that is not a leap second (23:59:60 UTC)");
  std::int64_t ns = 0;
  // Before 1970, count back from the next second: the start of the earliest second overflows, but its end does not.
  const bool early = seconds < 0;
  const auto part = early ? clock.ns - second_ns : clock.ns;
  if (__builtin_mul_overflow(early ? seconds + 1 : seconds, second_ns, &ns) || __builtin_add_overflow(ns, part, &ns))
    return failed(beyond_range);
  return {ns, {}, time_unit::iso8601};
}

// Read the form that most devices send: 2026-11-24T18:00:00Z, also with up to nine digits of a fraction. Return nothing for
// every other form, and for unusual values, which `reader` handles.
std::optional<std::int64_t> usual_form(std::string_view text) noexcept {
  constexpr std::size_t seconds_end = 19;
  if constexpr (std::endian::native != std::endian::little) return std::nullopt;
  if (text.size() <= seconds_end || text.back() != 'Z' || text[10] != 'T') return std::nullopt;
  const auto digits = [](std::uint64_t bytes) { return ((bytes + 0x7676767676767676) | bytes) & 0x8080808080808080; };
  // Each digit becomes its value, and each separator 0.
  const auto day = json::eight_bytes(text.data()) ^ 0x2D30302D30303030;         // 0000-00-
  const auto clock = json::eight_bytes(text.data() + 11) ^ 0x30303A30303A3030;  // 00:00:00
  const bool separated = (day & 0xFF0000FF00000000) == 0 && (clock & 0x0000FF0000FF0000) == 0;
  const auto tens = static_cast<unsigned>(text[8] - '0'), ones = static_cast<unsigned>(text[9] - '0');
  if (!separated || digits(day) != 0 || digits(clock) != 0 || tens > 9 || ones > 9) return std::nullopt;
  const auto at = [](std::uint64_t bytes, unsigned i) { return static_cast<unsigned>(bytes >> 8 * i & 0xFF); };
  const auto pair = [&](std::uint64_t bytes, unsigned i) { return at(bytes, i) * 10 + at(bytes, i + 1); };
  const auto y = pair(day, 0) * 100 + pair(day, 2), month = pair(day, 5), d = tens * 10 + ones;
  const auto hour = pair(clock, 0), minute = pair(clock, 3), second = pair(clock, 6);
  std::uint64_t fraction = 0;
  if (text[seconds_end] != 'Z' || text.size() != seconds_end + 1) {
    const char* const first = text.data() + seconds_end + 1;
    const char* const last = text.data() + text.size() - 1;
    const auto count = static_cast<std::size_t>(last - first);
    if (text[seconds_end] != '.' || count == 0 || count > 9) return std::nullopt;
    if (json::take_digits(first, last, fraction) != last) return std::nullopt;
    fraction *= powers_of_ten[9 - count];
  }
  const std::chrono::year_month_day date{std::chrono::year{static_cast<int>(y)}, std::chrono::month{month},
                                         std::chrono::day{d}};
  if (y < 1678 || y > 2261 || !date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const auto seconds = std::int64_t{std::chrono::sys_days{date}.time_since_epoch().count()} * 86'400 +
                       (hour * 60 + minute) * 60 + second;
  return seconds * second_ns + static_cast<std::int64_t>(fraction);
}

}  // namespace

std::optional<zone_policy> parse_zone_policy(std::string_view text) noexcept {
  if (text == "utc" || text == "UTC" || text == "Z") return zone_policy{};
  if (text == "reject") return zone_policy{true, 0};
  zone_policy policy;
  reader in(text);
  if (!read_offset(in, policy.offset_seconds) || !in.done()) return std::nullopt;
  return policy;
}

time_result time_of_number(const decimal& number, time_unit unit) noexcept {
  if (unit == time_unit::iso8601) return failed("not a time in ISO 8601, which time.unit requires");
  if (unit == time_unit::automatic) unit = detected_unit(number);
  const auto magnitude = scaled(number.digits, std::int64_t{number.exponent} + places(unit));
  if (!magnitude || *magnitude > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return failed(beyond_range);
  const auto ns = static_cast<std::int64_t>(*magnitude);
  return {number.negative ? -ns : ns, {}, unit};
}

time_result time_of_iso8601(std::string_view text, const zone_policy& zone) noexcept {
  if (const auto ns = usual_form(text)) return {*ns, {}, time_unit::iso8601};
  reader in(text);
  std::chrono::sys_days day{};
  clock_time clock;
  std::int32_t offset = 0;
  bool basic = false;
  if (const auto problem = read_date(in, day, basic); !problem.empty()) return failed(problem);
  if (in.skip_any("Tt ")) {
    if (const auto problem = read_clock(in, clock, basic); !problem.empty()) return failed(problem);
    if (const auto problem = read_zone(in, zone, offset); !problem.empty()) return failed(problem);
  } else if (!in.done()) {
    return failed(no_time);
  } else if (zone.reject) {
    return failed("a date without a zone, which time.zone rejects");
  } else {
    offset = zone.offset_seconds;
  }
  return combined(day, clock, offset);
}

time_result time_of_text(std::string_view text, time_unit unit, const zone_policy& zone) noexcept {
  if (text.empty()) return failed("an empty text, not a time");
  if (unit == time_unit::iso8601) return time_of_iso8601(text, zone);
  if (unit == time_unit::automatic && text.back() == 'Z') return time_of_iso8601(text, zone);  // not a number
  if (const auto number = parse_decimal(text)) return time_of_number(*number, unit);
  if (unit == time_unit::automatic) return time_of_iso8601(text, zone);
  return failed("not a number, which time.unit requires");
}

}  // namespace json_telemetry
