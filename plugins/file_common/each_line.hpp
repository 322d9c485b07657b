// SPDX-License-Identifier: Apache-2.0
// This function reads a file of lines from its beginning. It is thread-safe.
#pragma once

#include <pipeline/result.hpp>

#include <filesystem>
#include <functional>
#include <string_view>

namespace pl::files {

// Call `take` for each line that ends with a newline. The file may be larger than the available memory. Fail if
// the file cannot be read.
[[nodiscard]] result<void> each_line(const std::filesystem::path& file,
                                     const std::function<void(std::string_view line)>& take);

}  // namespace pl::files
