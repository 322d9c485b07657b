// SPDX-License-Identifier: Apache-2.0
#include "fleet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace pl::load {
namespace {

constexpr std::uint32_t hot_readings = 5;

// Return the chance (in percent) to begin an episode at a normal reading so that `percent` of all readings are hot.
double chance_to_begin(double percent) {
  if (percent <= 0) return 0;
  const auto calm = hot_readings * (100 - percent) / percent;
  return std::min(100.0, 100.0 / std::max(calm, 1.0));
}

}  // namespace

fleet::fleet(const fleet_options& options)
    : options_(options), random_(options.seed), begin_percent_(chance_to_begin(options.anomalies)) {
  devices_.reserve(std::size_t{options.users} * options.devices_per_user);
  for (std::uint32_t user = 1; user <= options.users; ++user) {
    for (std::uint32_t n = 1; n <= options.devices_per_user; ++n) {
      simulated d;
      d.user = fmt::format("user-{}", user);
      d.id = fmt::format("{}{}", options.device_prefix, devices_.size() + 1);
      d.topic = fmt::format("users/{}/devices/{}/telemetry", d.user, d.id);
      devices_.push_back(std::move(d));
    }
  }
  // Choose an exact share, spread evenly. A random choice would often be empty if there are few devices.
  double share = 0;
  for (auto& d : devices_) {
    share += options.silent;
    d.goes_silent = share >= 100;
    if (!d.goes_silent) continue;
    share -= 100;
    ++silent_;
  }
}

std::optional<reading> fleet::measure(std::uint32_t index, std::int64_t now_us) {
  auto& d = devices_[index];
  if (d.goes_silent && silent_from_us_ != 0 && now_us >= silent_from_us_) return std::nullopt;
  reading r;
  r.device = index;
  r.time_us = now_us;
  r.centi = 1'800 + static_cast<std::int32_t>(random_.below(800));
  heat(d, r);
  // Readings of an episode are never broken: otherwise the number of expected alerts would not be known.
  const bool matters = r.episode != 0 || r.ends_episode;
  if (!matters && random_.happens(options_.broken)) r.broken = static_cast<breakage>(1 + random_.below(4));
  if (random_.happens(options_.duplicates)) r.copies = 2;
  return r;
}

void fleet::heat(simulated& d, reading& r) {
  if (d.hot_left == 0 && d.may_begin && random_.happens(begin_percent_)) {
    d.hot_left = hot_readings;
    d.episode = ++episodes_;
  }
  d.may_begin = true;
  if (d.hot_left > 0) {
    r.centi =
        static_cast<std::int32_t>(options_.threshold * 100) + 200 + static_cast<std::int32_t>(random_.below(1'000));
    r.episode = d.episode;
    --d.hot_left;
    d.may_begin = d.hot_left > 0;
  } else if (d.episode != 0) {
    r.centi = static_cast<std::int32_t>(std::min(options_.clear * 100 - 200, static_cast<double>(r.centi)));
    r.ends_episode = true;
    r.episode = d.episode;
    d.episode = 0;
  }
}

void fleet::append_payload(std::string& out, const reading& r, std::uint64_t seq, std::int64_t sent_us) const {
  const auto& d = devices_[r.device];
  const auto to = std::back_inserter(out);
  if (r.broken == breakage::no_json) {
    fmt::format_to(to, "ERR 17 sensor timeout {}:{}", options_.run, seq);
    return;
  }
  fmt::format_to(to, R"({{"run":"{}","seq":{},)", options_.run, seq);
  const auto marked = out.size();  // keep run and seq, so that a message that is cut short can be recognised
  fmt::format_to(to, R"("sent_us":{},"user_id":"{}","device_id":"{}",)", sent_us, d.user, d.id);
  if (r.broken == breakage::bad_time)
    fmt::format_to(to, R"("time":"yesterday",)");
  else
    fmt::format_to(to, R"("time":{},)", r.time_us / 1000);
  if (r.broken == breakage::text_number)
    fmt::format_to(to, R"("temperature":"n/a",)");
  else
    fmt::format_to(to, R"("temperature":{:.2f},)", r.centi / 100.0);
  fmt::format_to(to, R"("humidity":{:.1f},"battery":{:.1f}}})", 40 + static_cast<double>(seq % 200) / 10,
                 50 + static_cast<double>(r.device % 500) / 10);
  if (r.broken == breakage::cut_short) out.resize(marked + (out.size() - marked) / 2);
}

std::optional<std::uint64_t> find_seq(std::string_view text, std::string_view run) {
  for (auto at = text.find(run); at != std::string_view::npos; at = text.find(run, at + 1)) {
    auto rest = text.substr(at + run.size());
    const auto digits = rest.find_first_not_of("\\\":,seq");
    if (digits == std::string_view::npos || digits == 0) continue;
    rest.remove_prefix(digits);
    std::uint64_t seq = 0;
    if (std::from_chars(rest.data(), rest.data() + rest.size(), seq).ec == std::errc{}) return seq;
  }
  return std::nullopt;
}

}  // namespace pl::load
