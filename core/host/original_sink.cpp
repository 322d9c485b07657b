// SPDX-License-Identifier: Apache-2.0
#include "host/original_sink.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>

#include <array>
#include <fstream>
#include <string>
#include <utility>

namespace pl::host {

namespace {

// The columns of a source, and their names in a dead letter.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> columns{
    {{"topic", "topic"}, {"key", "key"}, {"value", "value"}, {"headers", "headers"}, {"time", "record_time"}}};

class original_sink final : public sink {
 public:
  struct options {
    std::string path;
    static option_table<options> table() {
      return {option(&options::path, "path", "Where to write the records.").required()};
    }
  };
  static description describe() {
    return {.name = original_sink_name,
            .doc = "Writes records as dead letters have them.",
            .example = "plugin: original_sink\nfrom: in\npath: originals.ndjson\n"};
  }
  original_sink(options o, context) : path_(std::move(o.path)) {}

  result<void> start() override {
    out_.open(path_, std::ios::binary);
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }
  result<void> write(const batch_list& batches) override {
    for (const auto b : batches)
      for (const auto row : b.selection()) write(b, row);
    out_.flush();
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }

 private:
  void write(batch_view b, row_index row) {
    std::string line = "{\"stream\":";
    append_json_string(line, b.stream(row));
    line += ",\"position\":" + std::to_string(b.position(row));
    for (const auto& [column, name] : columns) {
      const auto at = b.find(column);
      if (!at || is_null(b.at(*at, row))) continue;
      line += ",\"" + std::string(name) + "\":";
      append_json(line, b.at(*at, row));
    }
    out_ << line << "}\n";
  }

  const std::string path_;
  std::ofstream out_;
};

}  // namespace

const pl_plugin& original_sink_plugin() {
  static const pl_plugin plugin = detail::make_plugin<original_sink>("1");
  return plugin;
}

}  // namespace pl::host
