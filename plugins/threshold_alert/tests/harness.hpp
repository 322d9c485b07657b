// SPDX-License-Identifier: Apache-2.0
// Runs threshold_alert in a fake host, feeds it readings and returns its alerts as short lines.
#pragma once

#include "text.hpp"
#include "threshold_alert.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/reread.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace threshold_alert::testing {

using pl::testing::config_fields;
using pl::testing::list;
using pl::testing::object;
using namespace std::chrono_literals;

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t epoch = 1'700'000'000 * second;  // second 0 of the tests

inline pl::cell real(double v) { return pl::real_cell(v); }
inline pl::cell text(std::string_view v) { return pl::text_cell(v); }

// One record. Texts must be literals.
struct row {
  double at = 0;  // seconds
  pl::cell temperature = pl::null_cell();
  std::string device = "d1";
  pl::cell humidity = pl::null_cell();
  pl::cell status = pl::null_cell();
  double arrived = -1;  // seconds; only for `arrive`; negative: at its own time
};

inline const pl_component& component() {
  static const pl::detail::component_table<threshold_alert> table;
  return *table.raw();
}

// Return one event as a short line for comparison: "firing warning 81 @10 d1".
inline std::string summary(pl::batch_view b, pl::row_index r) {
  std::string out;
  const auto at = [&](std::string_view name) { return b.at(*b.find(name), r); };
  out.append(pl::bytes_of(at("state"))).append(" ").append(pl::bytes_of(at("severity"))).append(" ");
  pl::append_json(out, at("value"));
  const auto seconds = static_cast<double>(at("time").as.i - epoch) / second;
  out.append(" @").append(number_text(seconds));
  if (const auto device = b.find("device_id")) out.append(" ").append(pl::bytes_of(b.at(*device, r)));
  return out;
}

class harness {
 public:
  explicit harness(config_fields options) : alerts_(host, component(), options) {
    host.raw().extension = &extension;
    if (alerts_.create() != PL_OK) throw std::runtime_error(host.error_text());
    if (alerts_.start() != PL_OK) throw std::runtime_error(host.error_text());
  }
  explicit harness(std::vector<pl::testing::config_value> rules)
      : harness(config_fields{{"rules", list(std::move(rules))}}) {}

  // Apply one batch of a stream without an arrival clock. behind: the number of records that the stream has after the
  // batch.
  void feed(const std::vector<row>& rows, std::string_view stream = "telemetry/0", std::uint64_t behind = 1) {
    feed(rows, stream, behind, {});
  }
  // Apply one batch of a stream with an arrival clock, which advances to the last arrival.
  void arrive(const std::vector<row>& rows, std::string_view stream = "telemetry/0") {
    std::vector<std::int64_t> arrivals;
    for (const auto& r : rows) arrivals.push_back(ns(r.arrived < 0 ? r.at : r.arrived) - behind_);
    if (!arrivals.empty()) now_ = std::max(now_, *std::ranges::max_element(arrivals));
    host.set_arrival(std::string(stream), now_, behind_, connected_);
    feed(rows, stream, 1, arrivals);
  }
  // Let the arrival clock advance to this time, without any record, and let timers run. The wall clock of timers is far
  // ahead, as on a host that is blocked.
  void clock(double at, std::string_view stream = "telemetry/0") {
    now_ = std::max(now_, ns(at) - behind_);
    host.set_arrival(std::string(stream), now_, behind_, connected_);
    tick(at + wall_ahead);
  }
  // A gap in which nothing could arrive, at the clock's present reading.
  void gap(double seconds) {
    behind_ += std::llround(seconds * second);
    connected_ = now_;
  }
  static constexpr double wall_ahead = 500;

  void feed(const std::vector<row>& rows, std::string_view stream, std::uint64_t behind,
            const std::vector<std::int64_t>& arrivals) {
    std::vector<pl::cell> time, user, device, temperature, humidity, status;
    for (const auto& r : rows) {
      time.push_back(pl::time_cell(ns(r.at)));
      user.push_back(pl::text_cell("u"));
      device.push_back(pl::text_cell(r.device));
      temperature.push_back(r.temperature);
      humidity.push_back(r.humidity);
      status.push_back(r.status);
    }
    auto& next = next_[std::string(stream)];
    auto batch = host.make_batch({{"time", time},
                                  {"user_id", user},
                                  {"device_id", device},
                                  {"temperature", temperature},
                                  {"humidity", humidity},
                                  {"status", status}},
                                 stream, next, arrivals);
    const_cast<pl_range*>(batch.get().raw()->ranges)->end = next + rows.size() + behind;
    next += rows.size();
    apply(batch.get());
  }
  void apply(pl::batch_view in) {
    if (alerts_.apply(in) != PL_OK) throw std::runtime_error(host.error_text());
  }
  void tick(double at) {
    if (alerts_.tick(epoch + std::llround(at * second)) != PL_OK) throw std::runtime_error(host.error_text());
  }
  void revoked(std::string_view stream) { alerts_.revoked(stream); }

  using state = std::map<std::pair<std::string, std::string>, std::string>;  // by stream and key
  void snapshot(std::string_view stream = "telemetry/0") {
    if (table().snapshot(alerts_.self(), pl::borrow(stream)) != PL_OK) throw std::runtime_error(host.error_text());
  }
  // Restore the state of another instance, as after a restart. next: position of the first record that follows.
  void restore(const state& from, std::string_view stream = "telemetry/0", std::uint64_t next = 0,
               std::uint32_t flags = 0) {
    host.set_state(from);
    for (const auto& [id, value] : from)
      if (id.first == stream) restore_entry(stream, id.second, value);
    if (table().restored(alerts_.self(), pl::borrow(stream), flags) != PL_OK)
      throw std::runtime_error(host.error_text());
    next_[std::string(stream)] = next;
  }
  void restore_entry(std::string_view stream, std::string_view key, std::string_view value) {
    if (table().restore(alerts_.self(), pl::borrow(stream), pl::borrow(key), pl::borrow(value)) != PL_OK)
      throw std::runtime_error(host.error_text());
  }
  // Stop as a host does, and return the stored state.
  state stop(std::string_view stream = "telemetry/0") {
    host.deliver();
    snapshot(stream);
    return host.state();
  }
  [[nodiscard]] std::uint64_t next(const std::string& stream = "telemetry/0") { return next_[stream]; }

  // Return the events since the last call. port 0: out; 1: recorded.
  std::vector<std::string> take(std::uint32_t port = 0) {
    return collect(port, [](pl::batch_view b, pl::row_index r) { return summary(b, r); });
  }
  // Return the events since the last call as complete rows, in JSON.
  std::vector<std::string> take_rows(std::uint32_t port = 0) {
    return collect(port, [](pl::batch_view b, pl::row_index r) {
      std::string json;
      pl::append_json_row(json, b, r);
      return json;
    });
  }
  // Return the events since the last call as texts by column, without nulls.
  std::vector<std::map<std::string, std::string>> take_fields(std::uint32_t port = 0) {
    std::vector<std::map<std::string, std::string>> all;
    collect(port, [&](pl::batch_view b, pl::row_index r) {
      auto& to = all.emplace_back();
      for (pl::column_index c = 0; c < b.columns(); ++c) {
        const auto& cell = b.at(c, r);
        if (pl::is_null(cell)) continue;
        auto& text = to[std::string(b.name(c))];
        if (pl::has_bytes(cell))
          text = pl::bytes_of(cell);
        else
          pl::append_json(text, cell);
      }
      return std::string();
    });
    return all;
  }
  [[nodiscard]] std::vector<pl::testing::emitted>& output() noexcept { return alerts_.output(); }

  pl::testing::fake_host host;
  // What the hosts of all harnesses report: the output of the records below was delivered before, and is discarded. None:
  // they do not report it.
  static inline std::optional<std::uint64_t> discarded;

 private:
  static const void* extension(void* ctx, pl_str name) {
    static const auto of_host = pl::testing::fake_host().raw().extension;
    static constexpr pl_host_reread reread{sizeof(pl_host_reread), [](void*, pl_str) { return discarded.value_or(0); }};
    return discarded && pl::view(name) == PL_EXT_REREAD ? &reread : of_host(ctx, name);
  }
  static std::int64_t ns(double seconds) { return epoch + std::llround(seconds * second); }
  [[nodiscard]] const pl_ext_state& table() {
    return *static_cast<const pl_ext_state*>(component().extension(alerts_.self(), pl::borrow(PL_EXT_STATE)));
  }
  template <class Show>
  std::vector<std::string> collect(std::uint32_t port, Show&& show) {
    std::vector<std::string> lines;
    for (const auto& e : alerts_.output())
      if (e.port == port)
        for (const auto r : e.data.get().selection()) lines.push_back(show(e.data.get(), r));
    std::erase_if(alerts_.output(), [port](const auto& e) { return e.port == port; });
    return lines;
  }
  pl::testing::instance alerts_;
  std::map<std::string, std::uint64_t> next_;
  std::int64_t now_ = INT64_MIN, behind_ = 0, connected_ = INT64_MIN;  // of the arrival clocks
};

using lines = std::vector<std::string>;

}  // namespace threshold_alert::testing

namespace doctest {
template <>
struct StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& v) {
    std::string all = "{";
    for (const auto& s : v) all.append(all.size() > 1 ? ", " : "").append("\"").append(s).append("\"");
    return (all + "}").c_str();
  }
};
}  // namespace doctest
