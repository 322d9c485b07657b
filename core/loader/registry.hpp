// SPDX-License-Identifier: Apache-2.0
// Finds plugins, loads them, and knows their components by name.
#pragma once

#include <pipeline/abi.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pl::loader {

// A file that is no plugin for this host, and why.
struct load_failure {
  std::filesystem::path file;
  std::string why;
};

struct loaded_component {
  const pl_component* component = nullptr;
  const pl_plugin* plugin = nullptr;
  std::filesystem::path file;
};

// Loads on demand: `plugin: NAME` is NAME.so in the first directory that has it; a component whose library has another
// name is found by loading all. Libraries stay loaded until the process ends: their code and their tables may be referenced
// by then. Not for several threads at once.
class registry {
 public:
  explicit registry(std::vector<std::filesystem::path> directories);
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;

  // Components that are linked in instead of loaded (tests, programs of their own).
  void add_linked(const pl_plugin& plugin) { add(plugin, "(linked in)"); }

  // The component, or null: then `failures` may say more.
  const loaded_component* find(std::string_view name);
  // Loads every library in the directories; the components by name.
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

// Where the host looks by itself: PIPELINE_PLUGIN_PATH (directories separated by ':'), then ../lib/pipeline-host/plugins and
// its multi-arch and build-tree kin beside the program.
std::vector<std::filesystem::path> default_directories(const std::filesystem::path& program, const char* plugin_path);

}  // namespace pl::loader
