// SPDX-License-Identifier: Apache-2.0
#include "rotation.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <tuple>

namespace lines {
namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 6> compressions{".gz", ".xz", ".zst", ".bz2", ".lz4", ".Z"};

bool remove_compression(std::string_view& name) {
  for (const auto suffix : compressions)
    if (name.ends_with(suffix)) return name.remove_suffix(suffix.size()), true;
  return false;
}

// Return what a rotation has added to the name; empty: the name is not that of a rotated file.
std::string_view added_part(const fs::path& path, std::string_view name) {
  const auto whole = path.filename().string(), stem = path.stem().string(), extension = path.extension().string();
  std::string_view added;
  if (name.starts_with(whole))
    added = name.substr(whole.size());
  else if (name.starts_with(stem) && name.ends_with(extension) && name.size() > stem.size() + extension.size())
    added = name.substr(stem.size(), name.size() - stem.size() - extension.size());
  if (added.size() < 2 || std::string_view(".-_").find(added.front()) == std::string_view::npos) return {};
  const bool time = added.find_first_not_of("0123456789.-_:+TZ") == std::string_view::npos;
  return time && added.find_first_of("0123456789") != std::string_view::npos ? added : std::string_view{};
}

// Return the number of ".2"; nothing for a time or a date.
std::optional<std::uint32_t> number_in(std::string_view added) {
  constexpr std::size_t most_digits = 4;
  added.remove_prefix(1);
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(added.data(), added.data() + added.size(), number);
  if (error != std::errc{} || end != added.data() + added.size() || added.size() > most_digits) return std::nullopt;
  return number;
}

bool older(const rotated_file& a, const rotated_file& b) {
  if (a.number && b.number) return *a.number > *b.number;
  return std::tie(a.modified, a.path) < std::tie(b.modified, b.path);
}

}  // namespace

std::vector<rotated_file> rotated_files_of(const std::string& path) {
  std::vector<rotated_file> all;
  const auto folder = fs::path(path).parent_path();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder.empty() ? fs::path(".") : folder, error)) {
    const auto filename = entry.path().filename().string();
    std::string_view name = filename;
    rotated_file f;
    f.compressed = remove_compression(name);
    const auto added = added_part(path, name);
    struct stat s {};
    if (added.empty() || ::stat(entry.path().c_str(), &s) != 0 || !S_ISREG(s.st_mode)) continue;
    f.path = (folder / filename).string();
    f.inode = s.st_ino;
    f.size = static_cast<std::uint64_t>(s.st_size);
    f.modified = std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec;
    f.number = number_in(added);
    all.push_back(std::move(f));
  }
  // Numbers decide only if all files have one: an order by two criteria would not be an order.
  if (!std::ranges::all_of(all, [](const auto& f) { return f.number.has_value(); }))
    for (auto& f : all) f.number.reset();
  std::ranges::sort(all, older);
  return all;
}

std::vector<rotated_file> newer_than(std::vector<rotated_file> all, const std::optional<rotated_file>& after,
                                     std::int64_t modified) {
  std::erase_if(all, [&](const rotated_file& f) {
    if (!after) return f.modified <= modified;
    if (f.inode == after->inode) return true;
    return f.number && after->number ? *f.number >= *after->number
                                     : std::tie(f.modified, f.path) <= std::tie(after->modified, after->path);
  });
  return all;
}

}  // namespace lines
