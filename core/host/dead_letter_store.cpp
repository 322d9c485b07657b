// SPDX-License-Identifier: Apache-2.0
#include "host/dead_letter_store.hpp"

#include "engine/local_letters.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"

#include <pipeline/time.hpp>

#include <file_common/each_line.hpp>
#include <file_common/path_template.hpp>
#include <file_common/rotated_files.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <system_error>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;

result<std::vector<fs::path>> dead_letter_files(const config::pipeline& p) {
  std::string path = "dead-letters/{pipeline}.ndjson";
  std::uint32_t writers = 1;
  const auto local = engine::local_letters_file(p.state_dir, p.name);  // written when the sink rejects dead letters
  std::error_code ignored;
  const bool any_local = fs::exists(local, ignored);
  if (p.dead_letters) {
    if (p.dead_letters->plugin != "file_sink" && any_local) return std::vector{local};
    if (p.dead_letters->plugin != "file_sink")
      return fatal(fmt::format("the dead letters of '{}' go to {}: only dead letters written by file_sink can be read",
                               p.name, p.dead_letters->plugin));
    const auto* given = p.dead_letters->options.find("path");
    if (given == nullptr || !given->is_scalar()) return fatal("the dead letters' file_sink has no path");
    path = given->text;
    writers = p.dead_letters->writers;
  }
  std::vector<fs::path> all;
  for (std::uint32_t w = 0; w < writers; ++w) {
    auto file = files::expand_path(path, {p.name, "dead_letters", w});
    if (!file.ok()) return fatal("the path of the dead letters: " + file.why().message);
    if (std::find(all.begin(), all.end(), *file) == all.end()) all.push_back(std::move(*file));
  }
  if (any_local) all.push_back(local);
  return all;
}

fs::path retried_name(const fs::path& dead_letters) {
  return dead_letters.parent_path() / (dead_letters.stem().string() + ".retried" + dead_letters.extension().string());
}

dead_letter_place place_of(const std::string& pipeline, const std::vector<fs::path>& files) {
  dead_letter_place place{pipeline, {}};
  for (const auto& path : files)
    for (auto& file : files::with_rotated(path)) place.files.push_back(std::move(file));
  return place;
}

std::optional<dead_letter_filter> filter_of(const dead_letter_arguments& given) {
  dead_letter_filter filter{given.pipeline, given.node, given.reason, given.stream, {}};
  if (given.since.empty()) return filter;
  filter.since = parse_rfc3339(given.since);
  if (filter.since) return filter;
  print_error(fmt::format("--since {} is not a valid time; write for example 2026-11-24 or 2026-11-24T18:10:23Z",
                          shown(given.since)));
  return std::nullopt;
}

std::optional<std::vector<dead_letter_place>> places_of(const arguments& args) {
  std::vector<dead_letter_place> places;
  auto configurations = args;
  configurations.configs.clear();
  for (const auto& name : args.dead_letters.from)
    if (const auto kind = fs::path(name).extension(); kind == ".yaml" || kind == ".yml")
      configurations.configs.push_back(name);
    else
      places.push_back({{}, {fs::path(name)}});
  if (configurations.configs.empty()) return places;
  const auto loaded = load(configurations);
  print_problems(loaded.problems);
  if (!loaded.ok()) return std::nullopt;
  for (const auto& p : loaded.pipelines) {
    const auto paths = dead_letter_files(p);
    if (!paths.ok()) return print_error(paths.why().message), std::nullopt;
    places.push_back(place_of(p.name, *paths));
  }
  return places;
}

namespace {

// Add rotated files to the list if the listed file no longer exists: file_sink may have rotated it after the listing.
void follow_rotation(std::vector<fs::path>& listed, std::size_t at) {
  std::error_code ignored;
  if (fs::exists(listed[at], ignored)) return;
  for (auto& file : files::with_rotated(listed[at]))
    if (std::ranges::count(listed, file) == 0) listed.push_back(std::move(file));
  if (at + 1 < listed.size()) listed.erase(listed.begin() + static_cast<std::ptrdiff_t>(at));
}

bool each_dead_letter_in(const fs::path& file, const std::string& pipeline, const dead_letter_filter& filter,
                         const std::function<void(const dead_letter& l, std::string_view line)>& take) {
  std::uint64_t invalid = 0;
  const auto read = files::each_line(file, [&](std::string_view line) {
    const auto l = parse_dead_letter(line);
    if (!l)
      ++invalid;
    else if ((pipeline.empty() || l->pipeline == pipeline) && filter.fits(*l))
      take(*l, line);
  });
  if (!read.ok()) return print_error(read.why().message), false;
  if (invalid != 0)
    fmt::print(stderr, "{}: {} {}\n", file.string(), invalid,
               invalid == 1 ? "line is not a dead letter" : "lines are not dead letters");
  return true;
}

}  // namespace

bool each_dead_letter(const std::vector<dead_letter_place>& places, const dead_letter_filter& filter,
                      const std::function<void(const dead_letter& l, std::string_view line)>& take) {
  for (auto place : places)
    for (std::size_t i = 0; i < place.files.size(); ++i) {
      follow_rotation(place.files, i);
      if (!each_dead_letter_in(place.files[i], place.pipeline, filter, take)) return false;
    }
  return true;
}

}  // namespace pl::host
