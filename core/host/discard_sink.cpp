// SPDX-License-Identifier: Apache-2.0
#include "host/discard_sink.hpp"

#include <pipeline/plugin.hpp>

namespace pl::host {

namespace {

class discard_sink final : public sink {
 public:
  struct options {
    static option_table<options> table() { return {}; }
  };
  static description describe() {
    return {.name = discard_sink_name,
            .doc = "Counts rows and discards them.",
            .example = "plugin: discard_sink\nfrom: parsed\n"};
  }
  discard_sink(const options&, context) {}
  result<void> write(const batch_list&) override { return {}; }
};

}  // namespace

const pl_plugin& discard_sink_plugin() {
  static const pl_plugin plugin = detail::make_plugin<discard_sink>("1");
  return plugin;
}

}  // namespace pl::host
