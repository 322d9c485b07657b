// SPDX-License-Identifier: Apache-2.0
// A sink for `dead-letters retry` that writes the records of a source as the dead letters of the engine have them. The
// sink is linked into the program and runs on a writer's thread.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

inline constexpr std::string_view original_sink_name = "original_sink";

// Return the plugin. Option `path`: a file with one JSON object for each record: stream, position, topic, key, value,
// headers, record_time.
[[nodiscard]] const pl_plugin& original_sink_plugin();

}  // namespace pl::host
