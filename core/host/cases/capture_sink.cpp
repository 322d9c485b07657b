// SPDX-License-Identifier: Apache-2.0
#include "host/cases/capture_sink.hpp"

#include "engine/stored_row.hpp"

#include <pipeline/plugin.hpp>

#include <fstream>
#include <string>
#include <utility>

namespace pl::host {

namespace {

class capture_sink final : public sink {
 public:
  struct options {
    std::string path;
    static option_table<options> table() {
      return {option(&options::path, "path", "The file of the rows.").required()};
    }
  };
  static description describe() {
    return {.name = capture_sink_name,
            .doc = "Keeps rows for a test.",
            .example = "plugin: capture_sink\nfrom: parsed\npath: rows.ndjson\n"};
  }
  capture_sink(options o, context) : path_(std::move(o.path)) {}

  result<void> start() override {
    out_.open(path_, std::ios::binary | std::ios::app);
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }
  result<void> write(const batch_list& batches) override {
    std::string lines;
    for (const auto b : batches)
      for (const auto row : b.selection()) {
        engine::append_stored_row(lines, b, row, [](column_index) { return false; });
        lines.push_back('\n');
      }
    out_ << lines << std::flush;
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }

 private:
  const std::string path_;
  std::ofstream out_;
};

}  // namespace

const pl_plugin& capture_sink_plugin() {
  static const pl_plugin plugin = detail::make_plugin<capture_sink>("1");
  return plugin;
}

}  // namespace pl::host
