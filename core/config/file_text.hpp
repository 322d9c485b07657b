// SPDX-License-Identifier: Apache-2.0
// Read a text file that an operator has named, without being blocked by what is not a file. Internal to core/config.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace pl::config {

/// Return at most `max_bytes` of a regular file, or of a pipe that somebody writes to, such as `<(command)`. On failure,
/// return nothing and set `why`: "is a directory", "nothing was written to this FIFO in time", "Permission denied".
/// patience: how long the writer of a pipe may take in all.
[[nodiscard]] std::optional<std::string> read_file_text(const std::string& path, std::size_t max_bytes,
                                                        std::string& why,
                                                        std::chrono::milliseconds patience = std::chrono::seconds(5));

}  // namespace pl::config
