// SPDX-License-Identifier: Apache-2.0
// This file expands names in braces in the path of a file. The functions are pure and thread-safe.
#pragma once

#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace pl::files {

struct path_names {
  std::string_view pipeline, node;
  std::uint32_t writer = 0;
};

// Expand names: out/{pipeline}.{writer}.ndjson becomes out/iot.0.ndjson. A slash in a name is replaced, so that the
// name stays one part of the path. Fail if a name is unknown, or the result has no file name.
[[nodiscard]] result<std::filesystem::path> expand_path(std::string_view path, const path_names& names);

}  // namespace pl::files
