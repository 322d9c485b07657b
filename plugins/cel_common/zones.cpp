// SPDX-License-Identifier: Apache-2.0
#include "cel_common/zones.hpp"

#include <pipeline/text.hpp>

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace pl::cel {

namespace {

// Names that the specification uses and that Debian 13 moved to the package tzdata-legacy.
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> legacy_names{
    {{"US/Alaska", "America/Anchorage"},
     {"US/Aleutian", "America/Adak"},
     {"US/Arizona", "America/Phoenix"},
     {"US/Central", "America/Chicago"},
     {"US/East-Indiana", "America/Indiana/Indianapolis"},
     {"US/Eastern", "America/New_York"},
     {"US/Hawaii", "Pacific/Honolulu"},
     {"US/Indiana-Starke", "America/Indiana/Knox"},
     {"US/Michigan", "America/Detroit"},
     {"US/Mountain", "America/Denver"},
     {"US/Pacific", "America/Los_Angeles"},
     {"US/Samoa", "Pacific/Pago_Pago"},
     {"GMT", "Etc/GMT"}}};

// Read +hh:mm, -hh:mm or hh:mm.
std::optional<std::int64_t> fixed_offset(std::string_view zone) noexcept {
  const bool west = zone.starts_with('-');
  if (west || zone.starts_with('+')) zone.remove_prefix(1);
  if (zone.size() != 5 || zone[2] != ':') return std::nullopt;
  for (const std::size_t i : {0U, 1U, 3U, 4U})
    if (!is_digit(zone[i])) return std::nullopt;
  const int hours = (zone[0] - '0') * 10 + (zone[1] - '0'), minutes = (zone[3] - '0') * 10 + (zone[4] - '0');
  if (hours > 23 || minutes > 59) return std::nullopt;
  return (hours * 60 + minutes) * (west ? -60 : 60);
}

// Return null if the name is not known, or if the machine has no database. The library reports both by exceptions.
const date::time_zone* locate(std::string_view name) {
  const auto* legacy =
      std::find_if(legacy_names.begin(), legacy_names.end(), [&](const auto& n) { return n.first == name; });
  for (const auto candidate : {name, legacy == legacy_names.end() ? std::string_view() : legacy->second}) {
    if (candidate.empty()) continue;
    try {
      return date::locate_zone(std::string(candidate));
    } catch (const std::runtime_error&) {
      continue;
    }
  }
  return nullptr;
}

}  // namespace

bool is_zone(std::string_view zone) { return zone == "UTC" || fixed_offset(zone) || locate(zone) != nullptr; }

std::optional<std::int64_t> zone_cache::offset(std::string_view zone, std::int64_t seconds) {
  if (zone == "UTC") return 0;
  if (const auto fixed = fixed_offset(zone)) return fixed;
  if (zone != name_ || zone_ == nullptr) {
    zone_ = locate(zone);
    if (zone_ == nullptr) return std::nullopt;
    name_ = zone;
    begin_ = end_ = 0;
  }
  if (seconds < begin_ || seconds >= end_) {
    const auto info = zone_->get_info(date::sys_seconds(std::chrono::seconds(seconds)));
    begin_ = info.begin.time_since_epoch().count();
    end_ = info.end.time_since_epoch().count();
    offset_ = info.offset.count();
  }
  return offset_;
}

}  // namespace pl::cel
