// SPDX-License-Identifier: Apache-2.0
// One message as the straight-line program reads it, and its thresholds: those of configs/iot.yaml.
#pragma once

#include <json_common/json_scanner.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace straight {

inline constexpr std::array<std::string_view, 4> metric_names{"temperature", "humidity", "pressure", "battery"};
enum metric : std::size_t { temperature, humidity, pressure, battery };

struct reading {
  std::int64_t time_us = 0;
  std::string_view user, device;
  std::array<std::optional<double>, metric_names.size()> metrics;
  std::string extra;  // members of a JSON object, without the braces
};

// Parses with the JSON reader of json_telemetry, but knows only one form of a message: ids as text, the time as a whole
// number of milliseconds or microseconds, and metrics as numbers at the top level. All other fields are `extra`.
class reader {
 public:
  reader() : scanner_({}, arena_) {}
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  // Texts of readings are valid until the next call.
  void begin_batch() {
    blocks_.clear();
    arena_.begin([this](std::size_t n) { return blocks_.emplace_back(std::make_unique<char[]>(n)).get(); });
  }
  [[nodiscard]] bool read(std::string_view document, reading& to) {
    to.user = to.device = {};
    to.metrics = {};
    to.extra.clear();
    has_time_ = false;
    scanner_.begin(document);
    const bool whole = scanner_.peek() == '{' && scanner_.object([&](const json::json_key& key) {
      json::json_value value;
      if (!scanner_.value(value)) return false;
      scanner_.watch(key);
      return assign(key, value, to);
    }) && scanner_.finish();
    return whole && has_time_ && !to.user.empty() && !to.device.empty();
  }

 private:
  bool assign(const json::json_key& key, const json::json_value& value, reading& to) {
    if (key.text == "user_id") return text(value, to.user);
    if (key.text == "device_id") return text(value, to.device);
    if (key.text == "timestamp") return time(value, to.time_us);
    for (std::size_t i = 0; i < metric_names.size(); ++i)
      if (key.text == metric_names[i]) return number(value, to.metrics[i]);
    if (!to.extra.empty()) to.extra += ',';
    to.extra.append(key.raw).append(1, ':').append(value.raw);
    return true;
  }
  bool text(const json::json_value& value, std::string_view& to) {
    if (value.kind != json::json_kind::string || value.has_nul) return false;
    to = json::text_of(value, arena_);
    return true;
  }
  bool time(const json::json_value& value, std::int64_t& to) {
    has_time_ = value.kind == json::json_kind::number && json::to_int64(value.number, to) == json::integer_fit::exact;
    if (to < 100'000'000'000'000) to *= 1000;  // milliseconds
    return has_time_;
  }
  static bool number(const json::json_value& value, std::optional<double>& to) {
    double parsed = 0;
    if (value.kind != json::json_kind::number) return value.kind == json::json_kind::null;
    const auto fit = json::to_double(value.number, value.raw, parsed);
    to = parsed;
    return fit != json::number_fit::too_large && fit != json::number_fit::too_small;
  }

  json::text_arena arena_;
  json::json_scanner scanner_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  bool has_time_ = false;
};

// The open alerts of each device.
class thresholds {
 public:
  // Return how many alerts the reading raises or resolves.
  unsigned check(const reading& r) {
    auto found = open_.find(r.device);
    if (found == open_.end()) found = open_.emplace(std::string(r.device), open_alerts{}).first;
    auto& open = found->second;
    unsigned changes = 0;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const auto& value = r.metrics[rules[i].on];
      if (!value) continue;
      const double distance = rules[i].above ? *value : -*value;
      const bool now = open[i] ? distance >= rules[i].clear : distance > rules[i].limit;
      if (now == open[i]) continue;
      open[i] = now;
      ++changes;
    }
    return changes;
  }

 private:
  struct rule {
    metric on;
    bool above;  // false: limits are negated
    double limit, clear;
  };
  static constexpr std::array<rule, 3> rules{
      {{temperature, true, 80, 75}, {temperature, false, 20, 15}, {battery, false, -10, -15}}};
  using open_alerts = std::array<bool, rules.size()>;
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, open_alerts, text_hash, std::equal_to<>> open_;
};

}  // namespace straight
