// SPDX-License-Identifier: Apache-2.0
#include "loader/registry.hpp"

#include "loader/plugin_frame.hpp"

#include <pipeline/result.hpp>

#include <boost/dll/shared_library.hpp>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <system_error>

namespace pl::loader {

namespace fs = std::filesystem;

namespace {

namespace dll = boost::dll;

// Libraries are never unloaded, even without open handles: threads of client libraries may still run in them.
constexpr auto load_mode = static_cast<dll::load_mode::type>(RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

// Return why this host cannot use a table; empty if it can.
std::string fault(const pl_plugin& plugin) {
  if (plugin.size < offsetof(pl_plugin, components) + sizeof plugin.components)
    return "its plugin table is too short: it was not built with pipeline/abi.h";
  if (plugin.minor > PL_ABI_MINOR)
    return fmt::format(
        "it needs a host with plugin interface {}.{} or newer; this host has {}.{}: install a newer pipeline-host, or "
        "build the plugin with this host's headers",
        PL_ABI_MAJOR, plugin.minor, PL_ABI_MAJOR, PL_ABI_MINOR);
  if (plugin.ncomponents == 0 || plugin.components == nullptr) return "it has no components";
  return {};
}

// Size of a component in the first release. Members that an older table lacks read as null.
constexpr std::size_t smallest_component = offsetof(pl_component, extension) + sizeof(pl_component::extension);

std::string fault(const pl_component* c) {
  if (c == nullptr) return "a component without a table";
  if (c->size < smallest_component) return "a component's table is too short: it was not built with pipeline/abi.h";
  const std::string name(view(c->name));
  if (name.empty()) return "a component without a name";
  if (c->create == nullptr || c->start == nullptr || c->stop == nullptr || c->destroy == nullptr)
    return fmt::format("component {} lacks create, start, stop or destroy", name);
  const bool whole = c->role == PL_SOURCE      ? c->poll != nullptr && c->settle != nullptr
                     : c->role == PL_TRANSFORM ? c->apply != nullptr
                     : c->role == PL_SINK      ? c->write != nullptr
                                               : false;
  return whole ? std::string{} : fmt::format("component {} lacks the functions of its role", name);
}

// Return whether a library is truncated (by a full disk or an interrupted copy). dlopen would map it, and the first
// access to a missing page would kill the host.
bool is_truncated(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  ElfW(Ehdr) header{};
  if (!in.read(reinterpret_cast<char*>(&header), sizeof header) ||
      std::string_view(reinterpret_cast<const char*>(header.e_ident), SELFMAG) != ELFMAG)
    return false;  // dlopen reports the reason
  std::error_code unknown;
  const auto size = fs::file_size(file, unknown);
  for (int i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment{};
    in.seekg(static_cast<std::streamoff>(header.e_phoff + static_cast<std::size_t>(i) * header.e_phentsize));
    if (!in.read(reinterpret_cast<char*>(&segment), sizeof segment)) return true;
    if (segment.p_type == PT_LOAD && segment.p_offset + segment.p_filesz > size) return true;
  }
  return false;
}

// Return dlopen's message, with a remedy for the common cases.
std::string explain(const std::string& why) {
  if (why.find("invalid ELF header") != std::string::npos || why.find("file too short") != std::string::npos)
    return "it is not a shared library";
  if (why.find("cannot open shared object file") != std::string::npos && why.find(".so") != std::string::npos)
    return why + ": a library that it needs is not installed (ldd lists the missing libraries)";
  return why;
}

}  // namespace

registry::registry(std::vector<fs::path> directories) : directories_(std::move(directories)) {}

void registry::load(const fs::path& file) {
  if (!tried_.insert(file).second) return;
  // Reading a FIFO would wait for a writer, for ever.
  if (std::error_code unknown; fs::is_other(file, unknown)) {
    failures_.push_back({file, "it is not a file but a FIFO, a socket or a device: remove it"});
    return;
  }
  if (is_truncated(file)) {
    failures_.push_back({file, "the file is truncated: copy it again"});
    return;
  }
  const auto name = file.filename().string();
  const plugin_frame loading({name.c_str(), "", ""}, "its initialisation");
  dll::shared_library library;
  // Only the exception contains dlopen's message, the error_code does not.
  try {
    library.load(boost::filesystem::path(file.string()), load_mode);
  } catch (const std::exception& e) {
    failures_.push_back({file, explain(e.what())});
    return;
  }
  if (!library.has("pl_plugin_v1")) {
    failures_.push_back(
        {file,
         "it does not export pl_plugin_v1: it is not a plugin, or a plugin for another major version of the plugin "
         "interface"});
    return;
  }
  add(library.get<const pl_plugin>("pl_plugin_v1"), file);
}

void registry::add(const pl_plugin& plugin, const fs::path& file) {
  if (auto why = fault(plugin); !why.empty()) {
    failures_.push_back({file, std::move(why)});
    return;
  }
  for (std::uint32_t i = 0; i < plugin.ncomponents; ++i) {
    const auto* c = plugin.components[i];
    if (auto why = fault(c); !why.empty())
      failures_.push_back({file, std::move(why)});
    else
      components_.try_emplace(std::string(view(c->name)),
                              loaded_component{c, &plugin, file});  // the first directory wins
  }
}

const loaded_component* registry::find(std::string_view name) {
  if (const auto at = components_.find(name); at != components_.end()) return &at->second;
  const bool is_file_name = name.find('/') == std::string_view::npos;
  for (const auto& dir : directories_) {
    const auto file = dir / (std::string(name) + ".so");
    std::error_code ignored;
    if (!is_file_name || !fs::is_regular_file(file, ignored)) continue;
    load(file);
    if (const auto at = components_.find(name); at != components_.end()) return &at->second;
  }
  (void)all();
  const auto at = components_.find(name);
  return at == components_.end() ? nullptr : &at->second;
}

const std::map<std::string, loaded_component, std::less<>>& registry::all() {
  if (std::exchange(all_loaded_, true)) return components_;
  for (const auto& dir : directories_) {
    std::vector<fs::path> files;
    std::error_code unreadable;
    for (const auto& entry : fs::directory_iterator(dir, unreadable))
      if (entry.path().extension() == ".so") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) load(file);
  }
  return components_;
}

std::vector<fs::path> default_directories(const fs::path& program, const char* plugin_path) {
  std::vector<fs::path> all;
  std::istringstream given(plugin_path == nullptr ? "" : plugin_path);
  for (std::string dir; std::getline(given, dir, ':');)
    if (!dir.empty()) all.emplace_back(dir);
  const auto prefix = program.parent_path().parent_path();
  std::error_code ignored;
  for (const auto& lib :
       {prefix / "lib", prefix / "lib" / "x86_64-linux-gnu", prefix / "lib" / "aarch64-linux-gnu", prefix / "lib64"})
    if (const auto dir = lib / "pipeline-host" / "plugins"; fs::is_directory(dir, ignored)) all.push_back(dir);
  return all;
}

}  // namespace pl::loader
