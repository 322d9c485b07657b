// SPDX-License-Identifier: Apache-2.0
#include <file_common/rotated_files.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace pl::files {
namespace fs = std::filesystem;

namespace {

// Return the rotation time in a file name; std::nullopt if it is not the name of a rotated file of `path`.
std::optional<rotation_time> rotated_at(const fs::path& path, std::string_view name) {
  const auto stem = path.stem().string() + ".", extension = path.extension().string();
  if (!name.starts_with(stem) || !name.ends_with(extension)) return std::nullopt;
  if (name.size() != stem.size() + 23 + extension.size()) return std::nullopt;
  const std::string stamp(name.substr(stem.size(), 23));
  int year = 0, micro = 0, read = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (std::sscanf(stamp.c_str(), "%4d%2u%2uT%2u%2u%2u.%6dZ%n", &year, &month, &day, &hour, &minute, &second, &micro,
                  &read) != 7 ||
      read != 23)
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second) + std::chrono::microseconds(micro);
}

}  // namespace

fs::path rotated_name(const fs::path& path, rotation_time at) {
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(at - day);
  std::array<char, 64> stamp;
  std::snprintf(stamp.data(), stamp.size(), ".%04d%02u%02uT%02d%02d%02d.%06dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
  return path.parent_path() / (path.stem().string() + stamp.data() + path.extension().string());
}

std::vector<rotation_time> rotations_of(const fs::path& path) {
  std::vector<rotation_time> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path.has_parent_path() ? path.parent_path() : fs::path("."), error))
    if (const auto at = rotated_at(path, entry.path().filename().string())) found.push_back(*at);
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> rotated_files(const fs::path& path) {
  std::vector<fs::path> names;
  for (const auto at : rotations_of(path)) names.push_back(rotated_name(path, at));
  return names;
}

std::vector<fs::path> with_rotated(const fs::path& path) {
  auto all = rotated_files(path);
  std::error_code ignored;
  if (fs::exists(path, ignored)) all.push_back(path);
  return all;
}

}  // namespace pl::files
