// SPDX-License-Identifier: Apache-2.0
// Runs the conformance tests, which are written in C++, on the plugin, which is written in C.
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  using namespace pl::testing;
  std::string error = "usage: archive_test archive.so";
  const auto* plugin = argc == 2 ? load_plugin(argv[1], error) : nullptr;
  if (plugin == nullptr) return std::fprintf(stderr, "%s\n", error.c_str()), 1;
  const temp_dir dir;
  problems found = check_plugin(*plugin);
  for (auto& p : check_life(*find_component(*plugin, "every_nth"), {{"n", 3}})) found.push_back(std::move(p));
  for (auto& p : check_life(*find_component(*plugin, "archive_sink"), {{"path", dir / "archive.ndjson"}}))
    found.push_back(std::move(p));
  for (const auto& problem : found) std::fprintf(stderr, "%s\n", problem.c_str());
  return found.empty() ? 0 : 1;
}
