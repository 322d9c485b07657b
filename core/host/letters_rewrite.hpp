// SPDX-License-Identifier: Apache-2.0
// Takes letters out of their file while hosts may append to it.
#pragma once

#include <pipeline/result.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace pl::host {

// iot.retried.ndjson, of iot.ndjson
[[nodiscard]] std::filesystem::path retried_name(const std::filesystem::path& letters);

// What becomes of a line that is in the letters' file.
enum class fate { stays, goes, is_retried };

// Rewrites the file and those that were rotated away from it: `is_retried` lines move to the file `retried_name`, `goes` ones
// are replaced by `added`, at the end. The protocol is file_sink's: all under the file's lock, and whoever waits for it
// sees afterwards that the path names another file. Each file is replaced in one step; a crash in between leaves letters in
// both places and loses none. A failure says what is as it was.
result<void> rewrite_letters(const std::filesystem::path& letters, const std::function<fate(std::string_view line)>& of,
                             std::string_view added);

}  // namespace pl::host
