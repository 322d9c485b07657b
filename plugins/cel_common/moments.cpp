// SPDX-License-Identifier: Apache-2.0
#include "cel_common/moments.hpp"

#include <pipeline/time.hpp>

#include <algorithm>
#include <array>

namespace pl::cel {

namespace {

__extension__ using wide = __int128;
constexpr std::int64_t second_ns = 1'000'000'000;
constexpr std::int64_t first_second = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr std::int64_t last_second = 253'402'300'799;   // 9999-12-31T23:59:59Z

// Return whether a text that read_rfc3339 accepts has the form of RFC 3339: with a T, a full offset and a point.
bool is_strict(std::string_view text) noexcept {
  if (text.size() < 20 || (text[10] != 'T' && text[10] != 't') || text.find(',') != std::string_view::npos)
    return false;
  if (text.back() == 'Z' || text.back() == 'z') return true;
  return text[text.size() - 3] == ':' && (text[text.size() - 6] == '+' || text[text.size() - 6] == '-');
}

struct unit {
  std::string_view name;
  std::int64_t nanoseconds;
};
// Longer names come before their prefixes.
constexpr std::array<unit, 8> units{{{"ns", 1},
                                     {"us", 1'000},
                                     {"\xC2\xB5s", 1'000},  // the micro sign
                                     {"\xCE\xBCs", 1'000},  // the Greek letter
                                     {"ms", 1'000'000},
                                     {"s", second_ns},
                                     {"m", 60 * second_ns},
                                     {"h", 3600 * second_ns}}};

// Reads the parts of a duration; the sum may be as low as INT64_MIN, so it is kept negative.
class duration_reader {
 public:
  explicit duration_reader(std::string_view text) noexcept : rest_(text) {}

  std::optional<std::int64_t> negative_sum() noexcept {
    if (rest_.empty()) return std::nullopt;
    while (!rest_.empty())
      if (!part()) return std::nullopt;
    return sum_;
  }

 private:
  std::string_view digits() noexcept {
    const auto n = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    const auto found = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return found;
  }
  bool subtract(std::int64_t count, std::int64_t of) noexcept {
    std::int64_t product = 0;
    return !__builtin_mul_overflow(count, of, &product) && !__builtin_sub_overflow(sum_, product, &sum_);
  }
  // Read one number with its unit.
  bool part() noexcept {
    const auto whole = digits();
    std::string_view fraction;
    if (rest_.starts_with('.')) {
      rest_.remove_prefix(1);
      fraction = digits();
    }
    if (whole.empty() && fraction.empty()) return false;
    const auto* found =
        std::find_if(units.begin(), units.end(), [&](const unit& u) { return rest_.starts_with(u.name); });
    if (found == units.end()) return false;
    rest_.remove_prefix(found->name.size());
    std::int64_t count = 0;
    for (const char c : whole)
      if (__builtin_mul_overflow(count, 10, &count) || __builtin_add_overflow(count, c - '0', &count)) return false;
    return subtract(count, found->nanoseconds) && subtract_fraction(fraction, found->nanoseconds);
  }
  // Subtract the fraction of a unit; what is less than a nanosecond is cut off.
  bool subtract_fraction(std::string_view digits, std::int64_t unit) noexcept {
    wide numerator = 0, denominator = 1;
    for (const char c : digits.substr(0, 18)) {
      numerator = numerator * 10 + (c - '0');
      denominator *= 10;
    }
    return subtract(static_cast<std::int64_t>(numerator * unit / denominator), 1);
  }

  std::string_view rest_;
  std::int64_t sum_ = 0;
};

}  // namespace

std::optional<value> make_timestamp(std::int64_t seconds, std::int64_t nanoseconds) noexcept {
  std::int64_t sum = 0;
  auto rest = nanoseconds % second_ns;
  const auto floor = nanoseconds / second_ns - (rest < 0 ? 1 : 0);
  if (rest < 0) rest += second_ns;
  if (__builtin_add_overflow(seconds, floor, &sum) || sum < first_second || sum > last_second) return std::nullopt;
  return timestamp_value(sum, static_cast<std::uint32_t>(rest));
}

std::optional<value> read_timestamp(std::string_view text) noexcept {
  const auto read = read_rfc3339(text);
  if (!read || read->date_only || !is_strict(text)) return std::nullopt;
  return make_timestamp(read->seconds, read->fraction_in(9));
}

void append_timestamp(std::string& out, const value& timestamp) {
  using namespace std::chrono;
  const sys_seconds at{seconds(timestamp.integer)};
  const auto day = floor<days>(at);
  const year_month_day date{day};
  const auto in_day = static_cast<std::uint64_t>((at - day).count());
  const auto put = [&](std::uint64_t v, int width) { detail::append_padded(out, v, width); };
  put(static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
  out.push_back('-');
  put(static_cast<unsigned>(date.month()), 2);
  out.push_back('-');
  put(static_cast<unsigned>(date.day()), 2);
  out.push_back('T');
  put(in_day / 3600, 2);
  out.push_back(':');
  put(in_day / 60 % 60, 2);
  out.push_back(':');
  put(in_day % 60, 2);
  if (timestamp.size != 0) {
    out.push_back('.');
    put(timestamp.size, 9);
    while (out.back() == '0') out.pop_back();
  }
  out.push_back('Z');
}

std::optional<value> read_duration(std::string_view text) noexcept {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "0") return duration_value(0);
  const auto sum = duration_reader(text).negative_sum();
  if (!sum || (!negative && *sum == INT64_MIN)) return std::nullopt;
  return duration_value(negative ? *sum : -*sum);
}

void append_duration(std::string& out, const value& duration) {
  const auto ns = duration.integer;
  if (ns < 0) out.push_back('-');
  const auto magnitude = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  detail::append_padded(out, magnitude / second_ns, 1);
  if (const auto fraction = magnitude % second_ns; fraction != 0) {
    out.push_back('.');
    detail::append_padded(out, fraction, 9);
    while (out.back() == '0') out.pop_back();
  }
  out.push_back('s');
}

std::optional<value> shifted(const value& timestamp, const value& duration, int factor) noexcept {
  // Whole seconds and the rest apart, so that nothing overflows.
  const auto seconds = factor * (duration.integer / second_ns);
  const auto rest = factor * (duration.integer % second_ns);
  return make_timestamp(timestamp.integer + seconds, std::int64_t{timestamp.size} + rest);
}

std::optional<value> difference(const value& timestamp, const value& earlier) noexcept {
  const auto rest = std::int64_t{timestamp.size} - std::int64_t{earlier.size};
  const auto ns = wide{timestamp.integer - earlier.integer} * second_ns + rest;
  if (ns < INT64_MIN || ns > INT64_MAX) return std::nullopt;
  return duration_value(static_cast<std::int64_t>(ns));
}

}  // namespace pl::cel
