// SPDX-License-Identifier: Apache-2.0
// Find and load plugins, and look up their components by name.
#pragma once

#include <pipeline/abi.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pl::loader {

// A file that this host could not load as a plugin, and the reason.
struct load_failure {
  std::filesystem::path file;
  std::string why;
};

struct loaded_component {
  const pl_component* component = nullptr;
  const pl_plugin* plugin = nullptr;
  std::filesystem::path file;
};

// Loads plugins on demand: `plugin: NAME` is NAME.so in the first directory that has it. If no such file has the
// component, all libraries are loaded. Libraries stay loaded until the process ends, because their code and tables may
// still be referenced. Not thread-safe.
class registry {
 public:
  explicit registry(std::vector<std::filesystem::path> directories);
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  // Add components that are linked into the program instead of loaded (for tests and custom programs).
  void add_linked(const pl_plugin& plugin) { add(plugin, "(linked in)"); }

  // Return the component, or null; `failures` may then contain the reason.
  const loaded_component* find(std::string_view name);
  // Load every library in the directories, and return the components by name.
  const std::map<std::string, loaded_component, std::less<>>& all();

  [[nodiscard]] const std::vector<load_failure>& failures() const noexcept { return failures_; }
  [[nodiscard]] const std::vector<std::filesystem::path>& directories() const noexcept { return directories_; }

 private:
  void load(const std::filesystem::path& file);
  void add(const pl_plugin& plugin, const std::filesystem::path& file);

  std::vector<std::filesystem::path> directories_;
  std::set<std::filesystem::path> tried_;
  std::map<std::string, loaded_component, std::less<>> components_;
  std::vector<load_failure> failures_;
  bool all_loaded_ = false;
};

// Return the default plugin directories: PIPELINE_PLUGIN_PATH (directories separated by ':'), then
// ../lib/pipeline-host/plugins relative to the program, and its multi-arch and lib64 variants.
std::vector<std::filesystem::path> default_directories(const std::filesystem::path& program, const char* plugin_path);

}  // namespace pl::loader
