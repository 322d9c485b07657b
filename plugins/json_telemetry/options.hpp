// SPDX-License-Identifier: Apache-2.0
// The plugin's options as the user writes them. plan.hpp compiles them.
#pragma once

#include "time_text.hpp"

#include <pipeline/options.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace json_telemetry {

template <class E, std::size_t N>
using names_of = std::array<std::pair<std::string_view, E>, N>;

enum class column_type { floating, integer, text, boolean, json, time };
constexpr names_of<column_type, 6> choices(column_type) {
  return {{{"float", column_type::floating},
           {"int", column_type::integer},
           {"text", column_type::text},
           {"bool", column_type::boolean},
           {"json", column_type::json},
           {"time", column_type::time}}};
}
enum class coercion { strict, lenient };
constexpr names_of<coercion, 2> choices(coercion) {
  return {{{"strict", coercion::strict}, {"lenient", coercion::lenient}}};
}
enum class on_duplicate_key { reject, last };
constexpr names_of<on_duplicate_key, 2> choices(on_duplicate_key) {
  return {{{"reject", on_duplicate_key::reject}, {"last", on_duplicate_key::last}}};
}
enum class on_nul { reject, strip, keep };
constexpr names_of<on_nul, 3> choices(on_nul) {
  return {{{"reject", on_nul::reject}, {"strip", on_nul::strip}, {"keep", on_nul::keep}}};
}
enum class on_invalid { reject, extra };
constexpr names_of<on_invalid, 2> choices(on_invalid) {
  return {{{"reject", on_invalid::reject}, {"extra", on_invalid::extra}}};
}
enum class on_tombstone { reject, skip };
constexpr names_of<on_tombstone, 2> choices(on_tombstone) {
  return {{{"reject", on_tombstone::reject}, {"skip", on_tombstone::skip}}};
}
enum class on_missing_time { reject, message_time };
constexpr names_of<on_missing_time, 2> choices(on_missing_time) {
  return {{{"reject", on_missing_time::reject}, {"message_time", on_missing_time::message_time}}};
}
enum class on_id_conflict { reject, payload, path };
constexpr names_of<on_id_conflict, 3> choices(on_id_conflict) {
  return {{{"reject", on_id_conflict::reject}, {"payload", on_id_conflict::payload}, {"path", on_id_conflict::path}}};
}
enum class window_reference { clock, message_time };
constexpr names_of<window_reference, 2> choices(window_reference) {
  return {{{"clock", window_reference::clock}, {"message_time", window_reference::message_time}}};
}
constexpr names_of<time_unit, 6> choices(time_unit) {
  return {{{"auto", time_unit::automatic},
           {"s", time_unit::seconds},
           {"ms", time_unit::milliseconds},
           {"us", time_unit::microseconds},
           {"ns", time_unit::nanoseconds},
           {"iso8601", time_unit::iso8601}}};
}

struct unit_options {
  std::vector<std::string> from;
  std::vector<std::string> accept;
  static pl::option_table<unit_options> table();
};

struct column_options {
  std::string name;
  std::vector<std::string> from;
  column_type type = column_type::floating;
  bool required = false;
  pl::scalar otherwise;
  std::optional<coercion> coerce;
  std::optional<unit_options> unit;
  static pl::option_table<column_options> table();
};

struct time_options {
  std::string column = "time";
  std::vector<std::string> from = {"timestamp", "time", "ts", "@timestamp", "datetime"};
  time_unit unit = time_unit::automatic;
  std::string zone = "utc";
  on_missing_time missing = on_missing_time::reject;
  static pl::option_table<time_options> table();
};

struct window_options {
  std::chrono::nanoseconds past = std::chrono::days(3650);
  std::chrono::nanoseconds future = std::chrono::days(1);
  window_reference around = window_reference::clock;
  static pl::option_table<window_options> table();
};

struct ids_from_options {
  std::string topic, key;
  on_id_conflict conflict = on_id_conflict::reject;
  static pl::option_table<ids_from_options> table();
};

struct options {
  std::string payload = "value";
  time_options time;
  window_options time_window;
  std::vector<std::string> ids = {"user_id", "device_id"};
  ids_from_options ids_from;
  std::vector<std::string> metrics = {"temperature", "humidity", "pressure", "battery"};
  std::vector<std::string> nested_in = {"metrics", "data", "readings", "measurements"};
  std::vector<column_options> columns;
  std::vector<std::string> keep;
  std::string extra = "extra";
  std::vector<std::string> readings = {"readings"};
  coercion coerce = coercion::strict;
  on_invalid invalid = on_invalid::reject;
  on_duplicate_key duplicate_keys = on_duplicate_key::reject;
  on_nul nul = on_nul::reject;
  on_tombstone tombstones = on_tombstone::reject;
  std::uint32_t max_depth = 32;
  std::uint32_t max_keys = 1000;
  pl::byte_size max_size{1ULL << 20};
  pl::byte_size max_id{1ULL << 10};
  static pl::option_table<options> table();
};

}  // namespace json_telemetry
