// SPDX-License-Identifier: Apache-2.0
// A source whose records are the originals of dead letters: for `dead-letters retry`, linked into the program.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

inline constexpr std::string_view letters_source_name = "dead_letters_source";

// Rows with the columns of kafka_source, and the streams and positions that the letters name. Option `path`: a file of
// letters, sorted by stream and position, each position once.
[[nodiscard]] const pl_plugin& letters_source_plugin();

}  // namespace pl::host
