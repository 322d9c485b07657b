// SPDX-License-Identifier: Apache-2.0
// Load pipelines from files. This header is the entry point of core/config.
//
//   auto loaded = pl::config::load({{"configs/iot.yaml"}}, sets, pl::config::process_environment());
//   for (const auto& p : loaded.pipelines) check_components(p, components, loaded.problems);
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

/// Provides the values of ${NAME} and ${file:/path}.
struct environment {
  /// Return the variable's value, or nothing if it is not set.
  std::function<std::optional<std::string>(std::string_view name)> variable;
  /// Return the file's contents. On failure, return nothing and set `why` to the reason ("permission denied").
  std::function<std::optional<std::string>(const std::string& path, std::string& why)> read_file;
};

[[nodiscard]] environment process_environment();

struct file_arg {
  std::string name;                 ///< the path; only used in messages if `text` is set
  std::optional<std::string> text;  ///< load this instead of reading the file
};

struct load_result {
  /// All pipelines that could be read, including those with errors, so that plugin options can be checked in the same
  /// pass. Do not start any of them if problems.has_errors().
  std::vector<pipeline> pipelines;
  diagnostics problems;

  [[nodiscard]] bool ok() const { return !problems.has_errors(); }
};

/// Bounds against hostile files (YAML bombs). An alias or merge key counts as the values that it stands for.
inline constexpr std::size_t max_file_bytes = 4U << 20U;
inline constexpr std::size_t max_nodes = 100'000;
inline constexpr std::size_t max_depth = 64;

/// Read, parse and check configurations. Each document of each file is a pipeline. `sets`: the arguments of --set,
/// "sinks.store.batch.rows=500". Throws std::bad_alloc only.
[[nodiscard]] load_result load(std::span<const file_arg> files, std::span<const std::string> sets,
                               const environment& env);

/// Read and parse a YAML file that is not a configuration: its documents, without replacing references.
[[nodiscard]] std::vector<value> load_documents(const file_arg& file, diagnostics& problems);

/// Read the files of ${file:/path} in the options of all nodes again, with an unchanged configuration. Return whether a
/// value changed. A file that cannot be read, or is not text, leaves the value as it is.
[[nodiscard]] bool read_secrets_again(pipeline& p, const environment& env);

}  // namespace pl::config
