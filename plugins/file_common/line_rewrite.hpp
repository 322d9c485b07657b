// SPDX-License-Identifier: Apache-2.0
// Removal of lines from a line_file and its rotated files, while other writers may append to the file. Thread-safe.
#pragma once

#include <pipeline/result.hpp>

#include <filesystem>
#include <functional>
#include <string_view>

namespace pl::files {

// What happens to a line: it stays in the file (`stays`), is removed (`goes`), or moves to another file (`moves`).
enum class line_fate { stays, goes, moves };

// Rewrite the rotated files and the file, the oldest first: append the `moves` lines to `moved_to`, remove
// the `goes` lines, and append `added` to the file. A writer that waits for the file's lock meanwhile detects the new
// file. Each file is replaced atomically. A crash may leave a line in its old and its new file, but loses no line.
[[nodiscard]] result<void> rewrite_lines(const std::filesystem::path& path,
                                         const std::function<line_fate(std::string_view line)>& fate_of,
                                         const std::filesystem::path& moved_to, std::string_view added);

}  // namespace pl::files
