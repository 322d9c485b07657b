// SPDX-License-Identifier: Apache-2.0
#include "anchor_store.hpp"

#include <pipeline/posix.hpp>

#include <fstream>
#include <sstream>
#include <system_error>

namespace lines {

namespace {

// The first line of the file. Files of earlier versions have none, and lines with base, inode and path.
constexpr std::string_view second_format = "file_source 2";
constexpr std::string_view third_format = "file_source 3";  // with hashes of the content

}  // namespace

void anchor_store::load() {
  std::ifstream in(file_);
  bool prints = false, contents = false;
  for (std::string line; std::getline(in, line);) {
    if (line == second_format || line == third_format) {
      prints = true;
      contents = line == third_format;
      continue;
    }
    std::istringstream fields(line);
    known_file f;
    std::string path;
    fields >> f.base >> f.inode;
    if (prints) fields >> f.print.size >> f.print.head >> f.print.tail >> f.print.modified;
    if (contents) fields >> f.print.content >> f.print.hashed >> f.print.changed;
    if (fields && fields.get() == ' ' && std::getline(fields, path)) known_[path].push_back(f);
  }
}

known_files anchor_store::of(const std::string& path) const {
  const auto it = known_.find(path);
  return it == known_.end() ? known_files{} : it->second;
}

pl::result<void> anchor_store::save() const {
  (void)pl::make_folders(file_.parent_path());  // writing the file reports why the folder is missing
  std::ostringstream all;
  all << third_format << '\n';
  for (const auto& [name, files] : known_)
    for (const auto& f : files)
      all << f.base << ' ' << f.inode << ' ' << f.print.size << ' ' << f.print.head << ' ' << f.print.tail << ' '
          << f.print.modified << ' ' << f.print.content << ' ' << f.print.hashed << ' ' << f.print.changed << ' '
          << name << '\n';
  if (!pl::replace_file(file_, all.str())) return {};
  return pl::retry("cannot write " + file_.string() +
                   ", which stores what was read of each file; free space, or give this user permission to write "
                   "there");
}

}  // namespace lines
