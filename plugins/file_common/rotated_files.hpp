// SPDX-License-Identifier: Apache-2.0
// These functions build and find names of rotated files: events.ndjson becomes events.20261124T182806.123456Z.ndjson.
// The names sort by time. The functions read folders, change nothing, and are thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <vector>

namespace pl::files {

using rotation_time = std::chrono::sys_time<std::chrono::microseconds>;

[[nodiscard]] std::filesystem::path rotated_name(const std::filesystem::path& path, rotation_time at);

// Return the rotation times of the existing rotated files of `path`, ascending.
[[nodiscard]] std::vector<rotation_time> rotations_of(const std::filesystem::path& path);

// Return the existing rotated files of `path`, the oldest first.
[[nodiscard]] std::vector<std::filesystem::path> rotated_files(const std::filesystem::path& path);
// As rotated_files, followed by the file itself if it exists.
[[nodiscard]] std::vector<std::filesystem::path> with_rotated(const std::filesystem::path& path);

}  // namespace pl::files
