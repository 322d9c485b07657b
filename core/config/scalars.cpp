// SPDX-License-Identifier: Apache-2.0
#include "config/scalars.hpp"

#include "config/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

struct unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<unit, 8> time_units = {{{"d", 86'400'000'000'000},
                                             {"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"µs", 1'000},
                                             {"ns", 1}}};

constexpr std::array<unit, 11> size_units = {{{"TiB", 1LL << 40},
                                              {"TB", 1'000'000'000'000},
                                              {"GiB", 1LL << 30},
                                              {"GB", 1'000'000'000},
                                              {"MiB", 1LL << 20},
                                              {"MB", 1'000'000},
                                              {"KiB", 1LL << 10},
                                              {"KB", 1'000},
                                              {"kB", 1'000},
                                              {"B", 1},
                                              {"", 1}}};

// Common other spellings of the units, in lower case.
constexpr std::array<std::pair<std::string_view, std::string_view>, 26> time_aliases = {
    {{"days", "d"},    {"day", "d"},     {"hours", "h"},
     {"hour", "h"},    {"hrs", "h"},     {"hr", "h"},
     {"minutes", "m"}, {"minute", "m"},  {"mins", "m"},
     {"min", "m"},     {"seconds", "s"}, {"second", "s"},
     {"secs", "s"},    {"sec", "s"},     {"milliseconds", "ms"},
     {"millis", "ms"}, {"msec", "ms"},   {"microseconds", "us"},
     {"micros", "us"}, {"usec", "us"},   {"d", "d"},
     {"h", "h"},       {"m", "m"},       {"s", "s"},
     {"ms", "ms"},     {"us", "us"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 14> size_aliases = {{{"k", "KiB"},
                                                                                         {"m", "MiB"},
                                                                                         {"g", "GiB"},
                                                                                         {"t", "TiB"},
                                                                                         {"kb", "KB"},
                                                                                         {"mb", "MB"},
                                                                                         {"gb", "GB"},
                                                                                         {"tb", "TB"},
                                                                                         {"kib", "KiB"},
                                                                                         {"mib", "MiB"},
                                                                                         {"gib", "GiB"},
                                                                                         {"tib", "TiB"},
                                                                                         {"bytes", "B"},
                                                                                         {"b", "B"}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The number of "1.5GiB": digits, optionally with a fraction. At most 19 digits, so that the value fits.
struct decimal {
  std::string_view whole, fraction;
  std::size_t length = 0;
};

std::optional<decimal> take_decimal(std::string_view text) {
  const auto digits = [&](std::size_t from) {
    auto end = from;
    while (end < text.size() && is_digit(text[end])) ++end;
    return end;
  };
  const auto whole = digits(0);
  if (whole == 0) return std::nullopt;
  decimal d{text.substr(0, whole), {}, whole};
  if (whole < text.size() && text[whole] == '.') {
    const auto end = digits(whole + 1);
    if (end == whole + 1) return std::nullopt;
    d.fraction = text.substr(whole + 1, end - whole - 1);
    d.length = end;
  }
  if (d.whole.size() > 19 || d.fraction.size() > 18) return std::nullopt;
  return d;
}

// Return d * factor exactly; nothing if the product overflows or has a fraction.
std::optional<std::int64_t> times(const decimal& d, std::int64_t factor) {
  const auto number = [](std::string_view digits) {
    std::uint64_t n = 0;
    for (const char c : digits) n = n * 10 + static_cast<std::uint64_t>(c - '0');
    return n;
  };
  __extension__ using wide = unsigned __int128;
  wide divisor = 1;
  for (std::size_t i = 0; i < d.fraction.size(); ++i) divisor *= 10;
  const auto part = static_cast<wide>(number(d.fraction)) * static_cast<wide>(factor);
  const auto total = static_cast<wide>(number(d.whole)) * static_cast<wide>(factor) + part / divisor;
  if (part % divisor != 0 || total > static_cast<wide>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return static_cast<std::int64_t>(total);
}

const unit* find_unit(std::span<const unit> units, std::string_view name) {
  const auto found = std::find_if(units.begin(), units.end(), [&](const unit& u) { return u.name == name; });
  return found == units.end() ? nullptr : &*found;
}

std::string_view unit_at(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() && !is_digit(text[end])) ++end;
  return text.substr(0, end);
}

std::optional<std::int64_t> exact_duration(std::string_view text) {
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  std::int64_t sum = 0, last = std::numeric_limits<std::int64_t>::max();
  while (!text.empty()) {
    const auto number = take_decimal(text);
    if (!number) return std::nullopt;
    text.remove_prefix(number->length);
    const auto* u = find_unit(time_units, unit_at(text));
    if (u == nullptr || u->factor >= last) return std::nullopt;  // reject 30m1h and 1s1s as mistakes
    text.remove_prefix(u->name.size());
    const auto part = times(*number, last = u->factor);
    if (!part || *part > std::numeric_limits<std::int64_t>::max() - sum) return std::nullopt;
    sum += *part;
  }
  return sum;
}

std::optional<std::int64_t> exact_size(std::string_view text) {
  const auto number = take_decimal(text);
  if (!number) return std::nullopt;
  const auto* u = find_unit(size_units, text.substr(number->length));
  return u == nullptr ? std::nullopt : times(*number, u->factor);
}

// Remove blanks and replace unit spellings by the exact units.
template <typename Aliases>
std::string tidy(std::string_view text, const Aliases& aliases) {
  std::string compact, result;
  for (const char c : to_lower(text)) {
    if (c != ' ' && c != '_') compact += c;
  }
  for (std::string_view rest = compact; !rest.empty();) {
    const auto number = take_decimal(rest);
    if (!number) return {};
    result += rest.substr(0, number->length);
    rest.remove_prefix(number->length);
    const auto name = unit_at(rest);
    const auto* alias = std::find_if(aliases.begin(), aliases.end(), [&](const auto& a) { return a.first == name; });
    result += alias == aliases.end() ? name : alias->second;
    rest.remove_prefix(name.size());
  }
  return result;
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.size() <= 12 && std::all_of(text.begin(), text.end(), is_digit);
}

std::string without(std::string_view text, std::string_view unwanted) {
  std::string result;
  for (const char c : text) {
    if (unwanted.find(c) == npos) result += c;
  }
  return result;
}

std::optional<std::int64_t> exact_int(std::string_view text) {
  const auto digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;  // octal?
  std::int64_t result = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return result;
}

std::string int_fix(std::string_view text) {
  auto plain = without(text, "_, '");
  if (plain.starts_with('+')) plain.erase(0, 1);
  if (const auto dot = plain.find('.'); dot != std::string::npos) {
    if (plain.find_first_not_of('0', dot + 1) != std::string::npos) return {};
    plain.resize(dot);
  }
  if (const auto first = plain.find_first_not_of('0'); first != std::string::npos) plain.erase(0, first);
  return exact_int(plain) ? "write " + plain : std::string();
}

std::string shortest(std::int64_t n, std::span<const unit> units, std::string_view zero) {
  std::string result;
  for (const auto& u : units) {
    if (u.name == "µs" || n / u.factor == 0) continue;
    result += fmt::format("{}{}", n / u.factor, u.name);
    n %= u.factor;
  }
  return result.empty() ? std::string(zero) : result;
}

}  // namespace

result<bool> parse_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const auto lower = to_lower(text);
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "y" || lower == "1") return fatal("write true");
  if (lower == "false" || lower == "no" || lower == "off" || lower == "n" || lower == "0") return fatal("write false");
  return fatal({});
}

result<std::int64_t> parse_int(std::string_view text) {
  if (const auto n = exact_int(text)) return *n;
  return fatal(int_fix(text));
}

result<double> parse_float(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number)) return number;
  const auto with_point = [&] {
    std::string s(text);
    std::replace(s.begin(), s.end(), ',', '.');
    return s;
  }();
  const bool comma = text.find(',') != npos && text.find(',') == text.rfind(',') && text.find('.') == npos;
  if (comma && parse_float(with_point)) return fatal("write " + with_point);
  return fatal({});
}

result<std::int64_t> parse_duration(std::string_view text) {
  if (const auto n = exact_duration(text)) return *n;
  if (all_digits(text)) return fatal(fmt::format("write {0}ms or {0}s", text));
  const auto better = tidy(text, time_aliases);
  return fatal(exact_duration(better) && !better.empty() ? "write " + better : std::string());
}

result<std::int64_t> parse_size(std::string_view text) {
  if (const auto n = exact_size(text)) return *n;
  const auto better = tidy(text, size_aliases);
  return fatal(exact_size(better) ? "write " + better : std::string());
}

std::string format_duration(std::int64_t nanoseconds) { return shortest(nanoseconds, time_units, "0"); }

std::string format_size(std::int64_t bytes) {
  for (const auto name : {"TiB", "GiB", "MiB", "KiB"}) {
    const auto factor = find_unit(size_units, name)->factor;
    if (bytes >= factor && bytes % factor == 0) return fmt::format("{}{}", bytes / factor, name);
  }
  return fmt::format("{}", bytes);
}

}  // namespace pl::config
