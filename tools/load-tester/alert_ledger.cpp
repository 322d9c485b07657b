// SPDX-License-Identifier: Apache-2.0
#include "alert_ledger.hpp"

#include "clock.hpp"

#include <rapidjson/document.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace pl::load {
namespace {

std::string_view text_of(const rapidjson::Document& json, const char* name) {
  const auto at = json.FindMember(name);
  if (at == json.MemberEnd() || !at->value.IsString()) return {};
  return {at->value.GetString(), at->value.GetStringLength()};
}

std::optional<std::int64_t> microseconds_of(const rapidjson::Document& json, const char* name) {
  return parse_utc(text_of(json, name));
}

}  // namespace

alert_ledger::alert_ledger(std::string rule, std::string device_prefix)
    : rule_(std::move(rule)), device_prefix_(std::move(device_prefix)) {}

void alert_ledger::expect(const reading& r, std::uint64_t seq) {
  if (r.episode == 0) return;
  const std::lock_guard hold(lock_);
  if (r.episode > episodes_.size()) {
    episodes_.resize(r.episode);
    episodes_.back().device = r.device;
    episodes_.back().first_ms = r.time_us / 1000;
    of_device_[r.device].push_back(r.episode - 1);
  }
  auto& e = episodes_[r.episode - 1];
  if (!r.ends_episode) {
    e.hot.push_back(seq);
    return;
  }
  e.end_ms = r.time_us / 1000;
  e.end_seq = seq;
}

bool alert_ledger::parse(std::string_view text, alert& to) const {
  rapidjson::Document json;
  json.Parse(text.data(), text.size());
  if (json.HasParseError() || !json.IsObject() || text_of(json, "rule") != rule_) return false;
  const auto device = text_of(json, "device_id");
  if (!device.starts_with(device_prefix_)) return false;
  const auto number = device.substr(device_prefix_.size());
  std::uint32_t one_based = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), one_based);
  if (error != std::errc{} || end != number.data() + number.size() || one_based == 0) return false;
  const auto since = microseconds_of(json, "since");
  const auto time = microseconds_of(json, "time");
  to = {std::string(text_of(json, "id")), std::string(text_of(json, "state")), one_based - 1, since.value_or(0) / 1000,
        time.value_or(since.value_or(0))};
  return true;
}

void alert_ledger::arrived(std::string_view json, std::int64_t at_us) {
  alert a;
  if (!parse(json, a)) return;
  const std::lock_guard hold(lock_);
  take(a, at_us);
}

void alert_ledger::take(const alert& a, std::int64_t at_us) {
  const bool fires = a.state == "firing";
  if (!fires && a.state != "resolved") return;
  if (!known_.insert(a.id + '/' + a.state).second) {
    ++duplicated_;
    return;
  }
  auto* e = find(a.device, a.since_ms);
  if (e == nullptr || (fires ? e->fired : e->resolved)) {
    ++unexpected_;
    return;
  }
  (fires ? e->fired : e->resolved) = true;
  // Count from the reading that raised the alert: a rule with `for` fires later than at the first reading.
  if (fires) to_alert_.add(at_us - a.time_us);
}

// Return the last episode of a device that began at or before `since_ms` and had not ended then, or nullptr.
alert_ledger::episode* alert_ledger::find(std::uint32_t device, std::int64_t since_ms) {
  const auto list = of_device_.find(device);
  if (list == of_device_.end()) return nullptr;
  const auto& numbers = list->second;
  const auto after = std::upper_bound(numbers.begin(), numbers.end(), since_ms,
                                      [&](std::int64_t ms, std::uint32_t n) { return ms < episodes_[n].first_ms; });
  if (after == numbers.begin()) return nullptr;
  auto& e = episodes_[*(after - 1)];
  return e.end_ms != 0 && since_ms > e.end_ms ? nullptr : &e;
}

alert_tally alert_ledger::count(const ledger& messages) const {
  const std::lock_guard hold(lock_);
  alert_tally t;
  for (const auto& e : episodes_) {
    const bool fires = std::any_of(e.hot.begin(), e.hot.end(), [&](auto seq) { return messages.acknowledged(seq); });
    const bool resolves = fires && e.end_ms != 0 && messages.acknowledged(e.end_seq);
    t.expected += fires ? 1 : 0;
    t.seen += e.fired ? 1 : 0;
    t.missing += fires && !e.fired ? 1 : 0;
    t.resolved_expected += resolves ? 1 : 0;
    t.resolved_seen += e.resolved ? 1 : 0;
    t.resolved_missing += resolves && !e.resolved ? 1 : 0;
  }
  t.duplicated = duplicated_;
  t.unexpected = unexpected_;
  t.to_alert = summary(to_alert_);
  return t;
}

}  // namespace pl::load
