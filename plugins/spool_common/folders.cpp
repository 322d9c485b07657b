// SPDX-License-Identifier: Apache-2.0
#include "folders.hpp"

#include "gaps.hpp"
#include "segment.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <system_error>

namespace spool {

namespace fs = std::filesystem;

namespace {

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::uint64_t number_in(const fs::path& path) {
  std::uint64_t number = 0;
  const auto text = first_line(path);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::optional<std::uint32_t> lane_of(const fs::path& folder) {
  const auto name = folder.filename().string();
  std::uint32_t lane = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), lane);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return lane;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    all.push_back(at->path());
  std::ranges::sort(all);
  return all;
}

std::vector<lane_folder> lanes_in(const fs::path& source) {
  std::vector<lane_folder> all;
  for (auto& path : entries_of(source))
    if (const auto lane = lane_of(path)) all.push_back({*lane, std::move(path)});
  std::ranges::sort(all, {}, &lane_folder::lane);
  return all;
}

pl::descriptor open_lock(const fs::path& folder, int how) {
  return pl::descriptor(::open((folder / "lock").c_str(), how | O_CLOEXEC));
}

bool is_in_use(const fs::path& folder) {
  const auto lock = open_lock(folder, O_RDONLY);
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

// Count the records from the numbers in the files' names; only the last file must be read.
void count_records(spool_info& of) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (auto& path : entries_of(of.folder))
    if (first_of(path)) {
      of.bytes += fs::file_size(path, ignored);
      files.push_back(std::move(path));
    }
  while (!files.empty()) {
    if (const auto last = scan(files.back()); last.ok()) {
      const auto from = std::max(of.settled, *first_of(files.front()));
      const auto gaps = load_gaps(of.folder);
      of.unsettled = count_between(gaps.ok() ? *gaps : number_gaps(), from, last->records.next);
      return;
    }
    files.pop_back();  // not readable by this user
  }
}

}  // namespace

fs::path source_folder(const fs::path& state_dir, std::string_view pipeline, std::string_view source) {
  return state_dir / "spool" / std::string(pipeline) / std::string(source);
}

std::vector<lane_folder> folders_beyond(const fs::path& source, std::uint32_t lane, std::uint32_t lanes) {
  auto all = lanes_in(source);
  std::erase_if(all, [&](const auto& f) { return f.lane < lanes || f.lane % lanes != lane; });
  return all;
}

std::string plugin_of(const fs::path& folder) { return first_line(folder / "plugin"); }

pl::result<void> set_plugin(const fs::path& folder, std::string_view plugin) {
  const auto path = folder / "plugin";
  if (const auto error = pl::replace_file(path.string(), std::string(plugin) + "\n"))
    return failed("cannot write", path, error.value());
  return {};
}

std::vector<spool_info> find_spools(const fs::path& state_dir) {
  std::vector<spool_info> all;
  std::error_code ignored;
  for (const auto& pipeline : entries_of(state_dir / "spool"))
    for (const auto& source : entries_of(pipeline))
      for (const auto& [lane, folder] : lanes_in(source)) {
        const auto id = first_line(folder / "id");
        if (id.empty()) continue;
        spool_info found{folder, pipeline.filename().string(), source.filename().string(), plugin_of(folder),
                         "spool/" + id};
        found.settled = number_in(folder / "settled");
        found.in_use = is_in_use(folder);
        count_records(found);
        all.push_back(std::move(found));
      }
  return all;
}

pl::result<pl::descriptor> lock_spool(const fs::path& folder) {
  auto lock = open_lock(folder, O_RDWR);
  if (!lock) return failed("cannot open", folder / "lock", errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return pl::retry("a process uses the spool " + folder.string() + "; stop it first");
  return lock;
}

bool is_unstarted(const fs::path& folder, const fs::path& source, std::uint32_t lanes) {
  const auto name = folder.filename().string();
  std::uint32_t lane = 0;
  const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), lane);
  std::error_code ignored;
  return wrong == std::errc{} && end == name.data() + name.size() && lane < lanes &&
         !fs::exists(source / name, ignored);
}

pl::result<fs::path> move_spool(const fs::path& folder, const fs::path& source, std::uint32_t lanes) {
  if (const auto error = pl::make_folders(source)) return failed("cannot create", source, error.value());
  const auto there = lanes_in(source);
  const auto lane = std::max(lanes, there.empty() ? 0U : there.back().lane + 1);
  auto to = is_unstarted(folder, source, lanes) ? source / folder.filename() : source / std::to_string(lane);
  if (const auto moved = pl::rename_durably(folder.string(), to.string(), pl::if_exists::fail))
    return failed("cannot move " + folder.string() + " to", to, moved.value());
  return to;
}

}  // namespace spool
