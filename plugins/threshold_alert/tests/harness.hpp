// SPDX-License-Identifier: Apache-2.0
// A threshold_alert under a fake host, fed with a few readings and read back as short lines.
#pragma once

#include "text.hpp"
#include "threshold_alert.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/testing/instance.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace threshold_alert::testing {

using pl::testing::config_fields;
using pl::testing::list;
using pl::testing::object;
using namespace std::chrono_literals;

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t epoch = 1'700'000'000 * second;  // where the tests' seconds are counted from

inline pl::cell real(double v) { return pl::real_cell(v); }
inline pl::cell text(std::string_view v) { return pl::text_cell(v); }

// One record. Texts must be literals.
struct row {
  double at = 0;  // seconds
  pl::cell temperature = pl::null_cell();
  std::string device = "d1";
  pl::cell humidity = pl::null_cell();
  pl::cell status = pl::null_cell();
};

inline const pl_component& component() {
  static const pl::detail::component_table<threshold_alert> table;
  return *table.raw();
}

// What one event came to, for comparison: "firing warning 81 @10 d1".
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
    if (alerts_.create() != PL_OK) throw std::runtime_error(host.error_text());
    if (alerts_.start() != PL_OK) throw std::runtime_error(host.error_text());
  }
  explicit harness(std::vector<pl::testing::config_value> rules)
      : harness(config_fields{{"rules", list(std::move(rules))}}) {}

  // One batch. behind: how many records the stream has beyond it.
  void feed(const std::vector<row>& rows, std::string_view stream = "telemetry/0", std::uint64_t behind = 1) {
    std::vector<pl::cell> time, user, device, temperature, humidity, status;
    for (const auto& r : rows) {
      time.push_back(pl::time_cell(epoch + std::llround(r.at * second)));
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
                                 stream, next);
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
  void drop(std::string_view stream) { alerts_.drop(stream); }

  // What came since the last call. port 0: out; 1: recorded.
  std::vector<std::string> take(std::uint32_t port = 0) {
    return collect(port, [](pl::batch_view b, pl::row_index r) { return summary(b, r); });
  }
  // The same, with everything that is in the rows.
  std::vector<std::string> take_rows(std::uint32_t port = 0) {
    return collect(port, [](pl::batch_view b, pl::row_index r) {
      std::string json;
      pl::append_json_row(json, b, r);
      return json;
    });
  }
  [[nodiscard]] std::vector<pl::testing::emitted>& output() noexcept { return alerts_.output(); }

  pl::testing::fake_host host;

 private:
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
