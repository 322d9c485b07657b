// SPDX-License-Identifier: Apache-2.0
// Converts times to and from RFC 3339 text, on the proleptic Gregorian calendar (std::chrono) and without leap seconds:
// as in POSIX time, second 60 is the first second of the next minute. All functions are pure. The epoch is
// 1970-01-01T00:00:00Z.
#pragma once

#include <pipeline/text.hpp>

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

// Append a time such as 2026-11-24T18:10:23.5Z: in UTC, without trailing zeros in the fraction. Every int64 is a time
// in the years 1677 to 2262.
inline void append_rfc3339(std::string& out, std::int64_t ns) {
  using namespace std::chrono;
  constexpr std::int64_t day_ns = 86'400'000'000'000;
  // Floor. The beginning of the first day cannot be stored as nanoseconds in an int64.
  const std::int64_t day = ns / day_ns - (ns % day_ns < 0 ? 1 : 0);
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

// The parts of an RFC 3339 text, for callers with their own rules for rounding or ranges.
struct calendar_time {
  std::int64_t seconds = 0;        // since the epoch, in UTC, without the fraction
  std::string_view fraction = {};  // any number of decimal digits of the second; a view into the text
  int offset_minutes = 0;          // zone of the text, minutes east of UTC
  bool date_only = false;          // the text is a date; seconds is its midnight in UTC

  // Return the fraction in units of 10^-places seconds (places: at most 18). Further digits are cut off.
  [[nodiscard]] std::int64_t fraction_in(std::size_t places) const noexcept {
    std::int64_t value = 0;
    for (std::size_t i = 0; i < places; ++i) value = value * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
    return value;
  }
};

namespace detail {

// Reads from the front of a text. After the first mismatch `failed` stays true and numbers are 0.
class time_reader {
 public:
  explicit time_reader(std::string_view text) noexcept : rest_(text) {}
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  [[nodiscard]] bool done() const noexcept { return rest_.empty(); }
  [[nodiscard]] char next() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }
  bool skip(std::string_view one_of) noexcept {
    if (rest_.empty() || one_of.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(std::string_view one_of) noexcept { failed_ = !skip(one_of) || failed_; }
  // Read a number of exactly `count` digits.
  int number(std::size_t count, int low, int high) noexcept {
    int value = 0;
    for (std::size_t i = 0; i < count && !failed_; ++i) {
      failed_ = !is_digit(next());
      if (failed_) break;
      value = value * 10 + (rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    failed_ = failed_ || value < low || value > high;
    return failed_ ? 0 : value;
  }
  // Read at least one digit.
  std::string_view digits() noexcept {
    const auto all = rest_.substr(0, std::min(rest_.find_first_not_of("0123456789"), rest_.size()));
    failed_ = failed_ || all.empty();
    rest_.remove_prefix(all.size());
    return all;
  }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

// Read Z, +hh:mm, +hhmm or +hh and return the minutes east of UTC.
[[nodiscard]] inline int read_offset(time_reader& in) noexcept {
  if (in.skip("Zz")) return 0;
  const bool west = in.next() == '-';
  in.expect("+-");
  const int hours = in.number(2, 0, 23);
  const bool more = in.skip(":") || !in.done();
  const int minutes = more ? in.number(2, 0, 59) : 0;
  return (hours * 60 + minutes) * (west ? -1 : 1);
}

}  // namespace detail

// Read a time such as 2026-11-24T18:10:23.5Z, with any number of fractional digits and years 0001 to 9999, or a date.
// As in ISO 8601 and PostgreSQL, 't' or a space may replace the 'T', a comma the decimal point, and +0100 or +01 the
// form +01:00. Return std::nullopt for any other text and for a date that does not exist. The result refers to the
// text.
[[nodiscard]] inline std::optional<calendar_time> read_rfc3339(std::string_view text) noexcept {
  using namespace std::chrono;
  detail::time_reader in(text);
  const int y = in.number(4, 1, 9999);
  in.expect("-");
  const int m = in.number(2, 1, 12);
  in.expect("-");
  const int d = in.number(2, 1, 31);
  const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  if (in.failed() || !date.ok()) return std::nullopt;
  calendar_time time;
  time.seconds = std::int64_t{sys_days(date).time_since_epoch().count()} * 86'400;
  time.date_only = in.done();
  if (time.date_only) return time;
  in.expect("Tt ");
  const int hour = in.number(2, 0, 23);
  in.expect(":");
  const int minute = in.number(2, 0, 59);
  in.expect(":");
  const int second = in.number(2, 0, 60);
  if (in.skip(".,")) time.fraction = in.digits();
  time.offset_minutes = detail::read_offset(in);
  if (in.failed() || !in.done()) return std::nullopt;
  time.seconds += (hour * 60 + minute - time.offset_minutes) * 60 + second;
  return time;
}

// Return the nanoseconds since the epoch of a text that read_rfc3339 accepts; further digits are cut off. Return
// std::nullopt as well if 64 bits cannot hold them: before 1677-09-21T00:12:44 or after 2262-04-11T23:47:16.854775807.
[[nodiscard]] inline std::optional<std::int64_t> parse_rfc3339(std::string_view text) noexcept {
  constexpr std::int64_t second_ns = 1'000'000'000, latest = INT64_MAX / second_ns;
  const auto time = read_rfc3339(text);
  if (!time || time->seconds < -latest || time->seconds > latest) return std::nullopt;
  const auto ns = time->seconds * second_ns, fraction = time->fraction_in(9);
  if (ns > INT64_MAX - fraction) return std::nullopt;
  return ns + fraction;
}

}  // namespace pl
