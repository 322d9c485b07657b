// SPDX-License-Identifier: Apache-2.0
#include "fleet.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <limits>
#include <string_view>

namespace simulator {
namespace {

constexpr std::int64_t ms_of_day = 86'400'000;

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept { return a / b - (a % b < 0 ? 1 : 0); }
constexpr std::int64_t floor_mod(std::int64_t a, std::int64_t b) noexcept { return a % b + (a % b < 0 ? b : 0); }

constexpr std::int64_t unit_of(time_format f) noexcept {
  switch (f) {
    case time_format::s:
      return 1'000'000'000;
    case time_format::us:
      return 1'000;
    case time_format::ns:
      return 1;
    default:
      return 1'000'000;
  }
}

// The finalizer of splitmix64.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

// Map a random number evenly to [-amplitude, amplitude].
constexpr std::int64_t within(std::uint64_t r, std::int64_t amplitude) noexcept {
  const auto span = static_cast<std::uint64_t>(2 * amplitude + 1);
  return static_cast<std::int64_t>((r >> 32U) * span >> 32U) - amplitude;
}

// Return a daily cycle: a sine approximated by two parabolas, in integers.
constexpr std::int64_t daily(std::int64_t second_of_day, std::int64_t amplitude) noexcept {
  constexpr std::int64_t half = 43'200;
  const bool night = second_of_day >= half;
  const auto x = night ? second_of_day - half : second_of_day;
  const auto y = 4 * amplitude * x / half * (half - x) / half;
  return night ? -y : y;
}

// Return the threshold for a 32-bit random number: the event happens if the number is below the threshold.
std::uint64_t threshold(double percent) { return static_cast<std::uint64_t>(percent * 42'949'672.96); }
constexpr bool happens(std::uint64_t r, std::uint64_t below) noexcept { return (r >> 32U) < below; }

// The put functions write at `to`, where there must be enough room, and return the end of the written text.
char* put(char* to, std::string_view text) {
  std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* put_number(char* to, std::uint64_t v) { return std::to_chars(to, to + 20, v).ptr; }

char* put_digits(char* to, std::int64_t v, int digits) {
  for (int i = digits; i > 0; v /= 10) to[--i] = static_cast<char>('0' + v % 10);
  return to + digits;
}

// Format thousandths, truncated towards zero: 21534 becomes 21.53 with 2 decimals.
char* put_milli(char* to, std::int64_t milli, int decimals) {
  if (milli < 0) *to++ = '-';
  const auto v = milli < 0 ? -milli : milli;
  to = put_number(to, static_cast<std::uint64_t>(v / 1000));
  *to++ = '.';
  return put_digits(to, decimals > 1 ? v % 1000 / 10 : v % 1000 / 100, decimals);
}

std::uint64_t representable(std::int64_t start, std::int64_t step) {
  const auto left = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) -
                    static_cast<std::uint64_t>(std::max<std::int64_t>(start, 0));
  return left / static_cast<std::uint64_t>(std::max<std::int64_t>(step, 1));
}

}  // namespace

fleet::fleet(const fleet_options& o)
    : options_(o),
      devices_((o.users * o.devices_per_user + o.lanes - 1 - o.lane) / o.lanes),
      last_representable_(representable(o.start_ns, o.step_ns)),
      threshold_{threshold(o.faults.anomalies), threshold(o.faults.silent),     threshold(o.faults.spikes),
                 threshold(o.faults.broken),    threshold(o.faults.duplicates), threshold(o.faults.late)} {
  for (std::uint32_t use = 0; use < salts; ++use) seeds_[use] = mix(o.seed ^ (std::uint64_t{use} << 56U));
}

std::uint64_t fleet::device_of(std::uint64_t n) const noexcept { return n % devices_ * options_.lanes + options_.lane; }

std::uint64_t fleet::random(salt use, std::uint64_t a, std::uint64_t b) const noexcept {
  return mix(mix(seeds_[use] ^ a) ^ b);
}

// Return a random walk that can be computed at any point: random values every `period` steps, interpolated linearly.
std::int64_t fleet::walk(salt use, std::uint64_t who, std::uint64_t at, std::uint64_t period,
                         std::int64_t amplitude) const noexcept {
  const auto knot = at / period, part = at % period;
  const auto from = within(random(use, who, knot), amplitude);
  const auto to = within(random(use, who, knot + 1), amplitude);
  return from + (to - from) * static_cast<std::int64_t>(part) / static_cast<std::int64_t>(period);
}

bool fleet::is_silent(std::uint64_t n) const noexcept {
  if (threshold_.silent == 0) return false;
  return happens(random(of_silence, device_of(n), n / devices_ / options_.episode), threshold_.silent);
}

std::int64_t fleet::arrival(std::uint64_t n) const noexcept {
  return options_.start_ns + static_cast<std::int64_t>(std::min(n, last_representable_)) * options_.step_ns;
}

bool fleet::is_duplicate(std::uint64_t n) const noexcept {
  if (threshold_.duplicates == 0 || n < devices_ || is_silent(n - devices_)) return false;
  return happens(random(of_duplicate, device_of(n), n / devices_), threshold_.duplicates);
}

// A duplicate repeats the device's previous record, which may be a duplicate itself.
std::uint64_t fleet::original_of(std::uint64_t n) const noexcept {
  while (is_duplicate(n)) n -= devices_;
  return n;
}

// An anomaly rises during the first quarter of an episode and falls during the last.
std::int64_t fleet::anomaly(std::uint64_t device, std::uint64_t round) const noexcept {
  if (threshold_.anomalies == 0) return 0;
  const auto length = options_.episode, at = round % length;
  if (!happens(random(of_anomaly, device, round / length), threshold_.anomalies)) return 0;
  const auto ramp = std::max<std::uint64_t>(length / 4, 1);
  const auto from_edge = std::min({at + 1, length - at, ramp});
  return options_.anomaly_milli * static_cast<std::int64_t>(from_edge) / static_cast<std::int64_t>(ramp);
}

std::int64_t fleet::disturbance(std::uint64_t device, std::uint64_t round) const noexcept {
  if (threshold_.spikes == 0) return anomaly(device, round);
  const auto r = random(of_spike, device, round);
  std::int64_t spike = 0;
  if (happens(r, threshold_.spikes))
    spike = (r & 1U) != 0 ? 35'000 + within(mix(r), 5'000) : -35'000 + within(mix(r), 5'000);
  return spike + anomaly(device, round);
}

fleet::reading fleet::measure(std::uint64_t n) const noexcept {
  const auto device = device_of(n), round = n / devices_, user = device / options_.devices_per_user;
  reading r{user + 1, device + 1, arrival(n), 0, 0, 0, 0};
  const auto character = random(of_device, device);
  const auto phase = within(character, 3'600);
  // The minimum is before dawn.
  const auto second = floor_mod(r.time_ns / 1'000'000'000 - 8 * 3'600 + phase, 86'400);

  const auto base = 20'000 + within(character << 24U, 4'000);
  const auto drift = walk(of_slow_walk, device, round, 256, 1'800) + walk(of_fast_walk, device, round, 32, 600);
  const auto calm = base + daily(second, 6'000) + drift + within(random(of_noise, device, round), 120);
  r.temperature = calm + disturbance(device, round);
  const auto moist = 55'000 - (calm - 20'000) * 6 / 5 + walk(of_humidity, device, round, 128, 8'000);
  r.humidity = std::clamp<std::int64_t>(moist, 3'000, 100'000);
  r.pressure = 1'013'200 + walk(of_pressure, user, round, 512, 14'000);
  constexpr std::uint64_t charge = 20'000;  // records
  const auto used = (round + character % charge) % charge;
  r.battery = 100'000 - static_cast<std::int64_t>(used * 95'000 / charge);
  r.time_ns -= lateness(device, round);
  return r;
}

std::int64_t fleet::lateness(std::uint64_t device, std::uint64_t round) const noexcept {
  if (threshold_.late == 0 || options_.late_by_ns <= 0) return 0;
  const auto r = random(of_lateness, device, round);
  if (!happens(r, threshold_.late)) return 0;
  return 1 + static_cast<std::int64_t>(mix(r) % static_cast<std::uint64_t>(options_.late_by_ns));
}

void fleet::append_value(std::string& out, std::uint64_t n) {
  n = original_of(n);
  std::array<char, 512> text;  // three times the longest record
  const auto append = [&](fault kind) { out.append(text.data(), put_reading(text.data(), measure(n), kind)); };
  const auto r = threshold_.broken == 0 ? UINT64_MAX : random(of_fault, device_of(n), n / devices_);
  if (!happens(r, threshold_.broken)) return append(fault::kinds);
  const auto kind = static_cast<fault>(mix(r) % static_cast<std::uint64_t>(fault::kinds));
  const auto begin = out.size();
  if (kind == fault::not_json)
    out += "ERR 17 sensor timeout";
  else if (kind != fault::empty)
    append(kind);
  if (kind == fault::truncated) out.resize(begin + 1 + mix(r + 1) % (out.size() - begin - 1));
}

char* fleet::put_reading(char* to, const reading& r, fault kind) {
  to = put_number(put(to, R"({"user_id":"user-)"), r.user);
  if (kind != fault::no_device) {
    to = put(to, kind == fault::bad_utf8 ? "\",\"device_id\":\"device\xC3-" : R"(","device_id":"device-)");
    to = put_number(to, r.device);
  }
  to = put(to, R"(","timestamp":)");
  to = kind == fault::bad_time ? put(to, "\"yesterday\"") : put_time(to, r.time_ns);
  to = put(to, R"(,"temperature":)");
  if (kind == fault::nan)
    to = put(to, "NaN");
  else if (kind == fault::text_number)
    to = put(to, "\"n/a\"");
  else
    to = put_milli(to, r.temperature, 2);
  to = put_milli(put(to, R"(,"humidity":)"), r.humidity, 1);
  to = put_milli(put(to, R"(,"pressure":)"), r.pressure, 1);
  to = put_milli(put(to, R"(,"battery":)"), r.battery, 1);
  return put(to, "}");
}

char* fleet::put_time(char* to, std::int64_t ns) {
  if (options_.format == time_format::iso) return put_iso(to, floor_div(ns, 1'000'000));
  const auto v = floor_div(ns, unit_of(options_.format));
  if (v < 0) *to++ = '-';
  return put_number(to, static_cast<std::uint64_t>(v < 0 ? -v : v));
}

char* fleet::put_iso(char* to, std::int64_t ms) {
  if (const auto day = floor_div(ms, ms_of_day); day != day_) {
    const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
    auto* at = put(put_digits(day_text_.data(), static_cast<int>(date.year()), 4), "-");
    at = put(put_digits(at, static_cast<unsigned>(date.month()), 2), "-");
    put_digits(at, static_cast<unsigned>(date.day()), 2);
    day_ = day;
  }
  const auto in_day = floor_mod(ms, ms_of_day);
  to = put(put(put(to, "\""), {day_text_.data(), 10}), "T");
  to = put(put_digits(to, in_day / 3'600'000, 2), ":");
  to = put(put_digits(to, in_day / 60'000 % 60, 2), ":");
  to = put(put_digits(to, in_day / 1'000 % 60, 2), ".");
  return put(put_digits(to, in_day % 1'000, 3), "Z\"");
}

void fleet::append_key(std::string& out, std::uint64_t n) const {
  const auto device = device_of(n);
  std::array<char, 96> text;
  auto* to = put_number(put(text.data(), "users/user-"), device / options_.devices_per_user + 1);
  to = put_number(put(to, "/devices/device-"), device + 1);
  out.append(text.data(), to);
}

}  // namespace simulator
