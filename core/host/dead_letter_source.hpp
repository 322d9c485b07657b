// SPDX-License-Identifier: Apache-2.0
// A source for `dead-letters retry` that emits the original records of dead letters. The source is linked into the
// program and runs on a lane's thread.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

inline constexpr std::string_view dead_letter_source_name = "dead_letters_source";

// Return the plugin. Its rows have the columns of kafka_source, and the dead letters' streams and positions. Option
// `path`: a file of dead letters, sorted by stream and position, each position once.
[[nodiscard]] const pl_plugin& dead_letter_source_plugin();

}  // namespace pl::host
