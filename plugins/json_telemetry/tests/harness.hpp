// SPDX-License-Identifier: Apache-2.0
// The harness runs the built plugin with a fake host: it takes payloads and returns rows as JSON lines, and reasons.
#pragma once

#include <pipeline/json.hpp>
#include <pipeline/testing/conformance.hpp>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace json_telemetry::testing {

inline std::string plugin_file() {
  const char* folder = std::getenv("PIPELINE_PLUGIN_DIR");
  return std::string(folder ? folder : ".") + "/json_telemetry.so";
}

inline const pl_component& parser() {
  static const pl_plugin* plugin = [] {
    std::string error;
    const auto* p = pl::testing::load_plugin(plugin_file(), error);
    if (p == nullptr) throw std::runtime_error(error);
    return p;
  }();
  return *plugin->components[0];
}

// By default the harness disables time_window, because the times in the test data are fixed.
class harness {
 public:
  explicit harness(pl::testing::config_fields options = {})
      : options_(with_open_window(std::move(options))), instance_(host, parser(), options_) {
    if (instance_.create() != PL_OK || instance_.start() != PL_OK) throw std::runtime_error(host.error_text());
  }

  using columns = std::vector<std::pair<std::string, std::vector<pl::cell>>>;
  // Return the rows as JSON lines without null columns.
  std::vector<std::string> read(const columns& in, std::uint64_t first = 100) {
    host.forget();
    instance_.output().clear();
    input_ = host.make_batch(in, "topic/0", first);
    if (instance_.apply(input_.get()) != PL_OK) throw std::runtime_error(host.error_text());
    std::vector<std::string> rows;
    if (instance_.output().size() != 1) throw std::runtime_error("not one batch");
    for (const auto row : output().selection()) pl::append_json_row(rows.emplace_back(), output(), row);
    return rows;
  }
  std::vector<std::string> read(const std::vector<std::string>& payloads) {
    std::vector<pl::cell> cells;
    for (const auto& p : payloads) cells.push_back(pl::bytes_cell(p));
    return read(columns{{"value", cells}});
  }
  // As read, but return the output batch; rows() returns the lines.
  pl::batch_view output_of(const std::vector<std::string>& payloads) {
    rows_ = read(payloads);
    return output();
  }
  [[nodiscard]] const std::vector<std::string>& rows() const noexcept { return rows_; }

  // Read one message and return its rows, one per line, or the reason in brackets.
  std::string one(const std::string& payload) { return joined(read(std::vector{payload})); }
  std::string one(const columns& in) { return joined(read(in)); }

  [[nodiscard]] pl::batch_view output() { return instance_.output().front().data.get(); }
  [[nodiscard]] pl::batch_view input() const { return input_.get(); }

  pl::testing::fake_host host;

 private:
  static pl::testing::config_fields with_open_window(pl::testing::config_fields options) {
    for (const auto& [key, value] : options)
      if (key == "time_window") return options;
    options.emplace_back("time_window", pl::testing::object({{"past", 0}, {"future", 0}}));
    return options;
  }
  std::string joined(const std::vector<std::string>& rows) {
    std::string all;
    for (const auto& r : rows) all += (all.empty() ? "" : "\n") + r;
    for (const auto& r : host.rejects()) all += "[" + r.reason + "]";
    return all;
  }
  pl::testing::config_fields options_;
  pl::testing::instance instance_;
  pl::batch input_;
  std::vector<std::string> rows_;
};

}  // namespace json_telemetry::testing
