// SPDX-License-Identifier: Apache-2.0
// Loads the built plugin as the host does.
#pragma once

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace timescale_test {

inline const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    const auto* folder = std::getenv("PIPELINE_PLUGIN_DIR");
    if (!folder) throw std::runtime_error("PIPELINE_PLUGIN_DIR must name the folder of the built plugins");
    std::string error;
    const auto* p = pl::testing::load_plugin(std::string(folder) + "/timescale_sink.so", error);
    if (!p) throw std::runtime_error(error);
    return p;
  }();
  return *loaded;
}

inline const pl_component& component() { return *plugin().components[0]; }

}  // namespace timescale_test
