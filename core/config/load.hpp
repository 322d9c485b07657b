// SPDX-License-Identifier: Apache-2.0
// From files to pipelines: the only way in.
//
//   auto loaded = pl::config::load({{"configs/iot.yaml"}}, sets, pl::config::process_environment());
//   for (const auto& p : loaded.pipelines) auto nodes = bind_all(p, components, loaded.problems);
//   if (!loaded.problems.empty()) std::fputs(loaded.problems.render(color).c_str(), stderr);
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

/// Where ${NAME} and ${file:/path} come from.
struct environment {
  /// The variable's value, or nothing where it isn't set.
  std::function<std::optional<std::string>(std::string_view name)> variable;
  /// The file's contents; on failure nothing, with the reason in `why` ("permission denied").
  std::function<std::optional<std::string>(const std::string& path, std::string& why)> read_file;
};

[[nodiscard]] environment process_environment();

struct file_arg {
  std::string name;                 ///< the path; only shown where there is a text
  std::optional<std::string> text;  ///< load this instead of reading the file
};

struct load_result {
  /// All that could be made out, even where there are errors, so that the plugins' options can be checked in the same
  /// go. Nothing may be started from it where problems.has_errors().
  std::vector<pipeline> pipelines;
  diagnostics problems;

  [[nodiscard]] bool ok() const { return !problems.has_errors(); }
};

/// Bounds against hostile files (YAML bombs). Anchors, aliases and merge keys are counted as what they stand for.
inline constexpr std::size_t max_file_bytes = 4U << 20U;
inline constexpr std::size_t max_nodes = 100'000;
inline constexpr std::size_t max_depth = 64;

/// Reads, parses and checks. Each document of each file is a pipeline. sets: what stands behind --set,
/// "sinks.store.batch.rows=500". Throws std::bad_alloc only.
[[nodiscard]] load_result load(std::span<const file_arg> files, std::span<const std::string> sets,
                               const environment& env);

}  // namespace pl::config
