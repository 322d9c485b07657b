// SPDX-License-Identifier: Apache-2.0
#include "loader/registry.hpp"

#include <pipeline/result.hpp>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

namespace fs = std::filesystem;
using pl::loader::registry;

namespace {

// A directory with copies of the named test plugins.
class plugin_directory {
 public:
  explicit plugin_directory(std::initializer_list<const char*> names)
      : path_(fs::temp_directory_path() / ("registry_test." + std::to_string(std::random_device{}()))) {
    fs::create_directories(path_);
    for (const auto* name : names)
      fs::copy_file(fs::path(TEST_PLUGINS) / (std::string(name) + ".so"), path_ / (std::string(name) + ".so"));
  }
  ~plugin_directory() { fs::remove_all(path_); }
  plugin_directory(const plugin_directory&) = delete;
  plugin_directory& operator=(const plugin_directory&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }
  void write(const char* name, const char* text) const { std::ofstream(path_ / name) << text; }

 private:
  fs::path path_;
};

std::string only_failure(const plugin_directory& dir) {
  registry plugins({dir.path()});
  CHECK(plugins.all().empty());
  CHECK(plugins.find("odd") == nullptr);
  REQUIRE(plugins.failures().size() == 1);
  return plugins.failures().front().why;
}

}  // namespace

TEST_CASE("a plugin built for a newer host is rejected with the version that it needs") {
  CHECK(only_failure(plugin_directory{"odd_newer"}) ==
        "it needs a host with plugin interface 1.1 or newer; this host has 1.0: install a newer pipeline-host, or "
        "build the plugin with this host's headers");
}

TEST_CASE("a table that is too short is rejected") {
  CHECK(only_failure(plugin_directory{"odd_short"}) ==
        "its plugin table is too short: it was not built with pipeline/abi.h");
}

TEST_CASE("a component that lacks functions is rejected by name") {
  CHECK(only_failure(plugin_directory{"odd_empty"}) == "component odd lacks the functions of its role");
}

TEST_CASE("a library that is not a plugin is rejected") {
  CHECK(only_failure(plugin_directory{"odd_none"}) ==
        "it does not export pl_plugin_v1: it is not a plugin, or a plugin for another major version of the plugin "
        "interface");
}

TEST_CASE("a file that is not a library is rejected") {
  const plugin_directory dir{};
  dir.write("odd.so", "#!/bin/sh\necho not a library, but long enough to have a header of some sort in it\n");
  CHECK(only_failure(dir).find("it is not a shared library") != std::string::npos);
}

TEST_CASE("a FIFO in a plugin directory is rejected and does not block the host") {
  const plugin_directory dir{};
  REQUIRE(::mkfifo((dir.path() / "odd.so").c_str(), 0600) == 0);
  CHECK(only_failure(dir) == "it is not a file but a FIFO, a socket or a device: remove it");
}

TEST_CASE("a truncated library is rejected and does not crash the host") {
  const plugin_directory dir{"odd_none"};
  const auto file = dir.path() / "odd_none.so";
  for (auto size = fs::file_size(file) / 2; size > 64; size /= 2) {
    fs::resize_file(file, size);
    CHECK(only_failure(dir) == "the file is truncated: copy it again");
  }
}

TEST_CASE("a component with a longer table is accepted, and the additional members are not read") {
  const plugin_directory dir{"odd_longer"};
  registry plugins({dir.path()});
  const auto* found = plugins.find("odd");  // its file has another name
  REQUIRE(found != nullptr);
  CHECK(found->component->role == PL_SINK);
  CHECK(pl::view(found->plugin->version) == "1.0.0");
}

TEST_CASE("valid plugins load despite invalid ones, and the first directory wins") {
  const plugin_directory bad{"odd_newer", "odd_none"}, good{"odd_longer"};
  registry plugins({bad.path(), good.path()});
  CHECK(plugins.all().size() == 1);
  CHECK(plugins.failures().size() == 2);
}

TEST_CASE("the default directories are PIPELINE_PLUGIN_PATH, then the directories next to the program") {
  const plugin_directory prefix{};
  fs::create_directories(prefix.path() / "lib" / "pipeline-host" / "plugins");
  const auto dirs = pl::loader::default_directories(prefix.path() / "bin" / "pipeline-host", "/a:/b");
  REQUIRE(dirs.size() == 3);
  CHECK(dirs[0] == "/a");
  CHECK(dirs[1] == "/b");
  CHECK(dirs[2] == prefix.path() / "lib" / "pipeline-host" / "plugins");
}
