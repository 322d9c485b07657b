// SPDX-License-Identifier: Apache-2.0
#include "tracked_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace lines {
namespace fs = std::filesystem;

namespace {

std::string listed(const std::vector<rotated_file>& files) {
  std::string names;
  for (const auto& f : files) names += (names.empty() ? "" : ", ") + f.path;
  return names;
}

std::optional<rotated_file> rotated_with(const std::vector<rotated_file>& all, std::uint64_t inode) {
  const auto at = std::ranges::find(all, inode, &rotated_file::inode);
  return at == all.end() ? std::nullopt : std::optional(*at);
}

}  // namespace

std::uint64_t tracked_file::generation::size() const {
  struct stat s {};
  return ::fstat(fd.get(), &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
}

std::int64_t tracked_file::generation::modified() const {
  struct stat s {};
  return ::fstat(fd.get(), &s) == 0 ? std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec : 0;
}

pl::result<tracked_file::generation> tracked_file::open_path(const std::string& path) const {
  generation g;
  g.fd = pl::descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!g.fd) {
    const auto text = "cannot read " + path + ": " + std::generic_category().message(errno);
    return errno == ENOENT && !follow_ ? pl::fatal(text + "; check `path`")
                                       : pl::retry(text + "; give this user permission to read it, or check `path`");
  }
  struct stat s {};
  ::fstat(g.fd.get(), &s);
  if (!S_ISREG(s.st_mode))
    return pl::fatal(path + " is not a regular file, so it could not be read again after a failure; check `path`");
  g.inode = s.st_ino;
  g.name = path;
  return g;
}

// Find a rotated file in the same folder by its inode, which a rename does not change.
std::optional<tracked_file::generation> tracked_file::find_renamed(std::uint64_t inode) const {
  const auto folder = fs::path(path_).parent_path();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder.empty() ? fs::path(".") : folder, error)) {
    struct stat s {};
    if (::stat(entry.path().c_str(), &s) != 0 || s.st_ino != inode || !S_ISREG(s.st_mode)) continue;
    if (auto g = open_path(entry.path().string()); g.ok()) return std::move(*g);
  }
  return std::nullopt;
}

// Find a rotated file that begins with what was read: a copy, because the file itself was truncated (copytruncate).
std::optional<tracked_file::generation> tracked_file::find_copy(const file_print& print) const {
  if (print.size == 0) return std::nullopt;
  for (const auto& f : rotated_files_of(path_)) {
    if (f.compressed || f.size < print.size || f.modified < print.modified) continue;
    if (auto g = open_path(f.path); g.ok() && begins_with(g->fd.get(), print)) return std::move(*g);
  }
  return std::nullopt;
}

// Return a file of the last run, under its present name.
std::optional<tracked_file::generation> tracked_file::locate(const known_file& f, const generation& named) const {
  const auto fits = [&](const generation& g) { return begins_with(g.fd.get(), f.print); };
  const auto open_named = [&]() -> std::optional<generation> {
    auto again = open_path(path_);
    return again.ok() && again->inode == named.inode ? std::optional(std::move(*again)) : std::nullopt;
  };
  if (f.inode == 0 || f.inode == named.inode) {
    if (fits(named)) return open_named();
  } else if (auto renamed = find_renamed(f.inode); renamed && fits(*renamed)) {
    return renamed;
  } else if (f.print.size != 0 && fits(named)) {
    return open_named();  // it was copied, or restored from a backup
  }
  return find_copy(f.print);
}

// Append a newer file. Its base is the end of the one before it, but not less than `least_base`.
void tracked_file::add(generation g, std::uint64_t least_base) {
  g.base = least_base;
  if (!files_.empty()) {
    auto& before = files_.back();
    before.end = before.base + before.size();
    g.base = std::max(g.base, *before.end);
  }
  files_.push_back(std::move(g));
  print_ = {};
  place_changed_ = true;
}

pl::result<void> tracked_file::open(std::uint64_t next, const known_files& known) {
  auto named = open_path(path_);
  if (!named.ok()) return named.why();
  next_ = next;
  if (!follow_) return reopen_once(std::move(*named), known);
  reopen(std::move(*named), known);
  return {};
}

pl::failure tracked_file::replaced(const std::string& how) const {
  return pl::fatal(
      path_ + " " + how +
      ": it was replaced or truncated; to read it from its beginning, start the host with 'run --fresh', or "
      "restore the file");
}

// Open a file that is read once: it must be the one that was read before.
pl::result<void> tracked_file::reopen_once(generation named, const known_files& known) {
  const auto print = known.empty() || next_ == 0 ? file_print{} : known.back().print;
  const auto read = std::max(next_, print.size);
  if (const auto size = named.size(); size < read)
    return replaced("has " + std::to_string(size) + " bytes, but was read up to byte " + std::to_string(read) +
                    " before");
  if (!begins_with(named.fd.get(), print))
    return replaced("does not have the content that was read up to byte " + std::to_string(print.size) + " before");
  add(std::move(named), 0);
  return {};
}

// Open the file that contains next_, and the files that followed it.
void tracked_file::reopen(generation named, const known_files& known) {
  const auto after = std::ranges::upper_bound(known, next_, {}, &known_file::base);
  const bool has_first = after != known.begin() || known.empty();
  auto first = known.empty() ? known_file{} : *(has_first ? after - 1 : after);
  if (next_ == first.base) first.print = {};  // nothing of it was read
  auto old = has_first ? locate(first, named) : std::nullopt;
  if (old && next_ - first.base > old->size()) old.reset();
  const bool lost = !old;
  if (old) {
    const bool is_named = old->inode == named.inode;
    add(std::move(*old), first.base);
    if (is_named) return;
  }
  // The newer files of the last run, then those that were rotated since, then the one that the path names.
  auto modified = first.print.modified;
  auto base = next_;
  for (auto f = after; f != known.end(); ++f) {
    modified = std::max(modified, f->print.modified);
    if (f->inode == named.inode) base = f->base;
    if (auto g = f->inode == named.inode ? std::nullopt : locate(*f, named);
        g && g->inode != named.inode && !holds(g->inode))
      add(std::move(*g), f->base);
  }
  add_rotated(modified, named);
  if (lost)
    warn_(path_ + " was replaced or truncated while it was not being read; lines of the old file after position " +
          std::to_string(next_) + " can no longer be read; continuing at the beginning of " +
          (files_.empty() ? "the new file" : files_.front().name));
  add(std::move(named), base);
}

// Add the rotated files between the last file that was read and the file that the path names now. modified: when the
// last file was changed, if it no longer exists.
void tracked_file::add_rotated(std::int64_t modified, const generation& named) {
  const auto all = rotated_files_of(path_);
  const auto last = files_.empty() ? std::nullopt : rotated_with(all, files_.back().inode);
  auto between = newer_than(all, last, files_.empty() ? modified : files_.back().modified());
  std::erase_if(between, [&](const auto& f) { return f.inode == named.inode || holds(f.inode) || is_other_(f.path); });
  std::vector<rotated_file> read, skipped;
  for (auto& f : between) {
    auto g = f.compressed ? pl::result<generation>(pl::retry("")) : open_path(f.path);
    (g.ok() ? read : skipped).push_back(f);
    if (g.ok()) add(std::move(*g), next_);
  }
  std::uint64_t bytes = 0;
  for (const auto& f : skipped) bytes += f.size;
  if (!read.empty())
    warn_(path_ +
          " was rotated more than once since it was read; the files in between are read first: " + listed(read));
  if (!skipped.empty())
    warn_("LOST: " + std::to_string(skipped.size()) + " rotated files of " + path_ + " (" + std::to_string(bytes) +
          " bytes) are not read, because they are compressed or not readable: " + listed(skipped));
}

// Return the index of the file that contains position next_.
std::size_t tracked_file::current() const {
  std::size_t i = 0;
  while (i + 1 < files_.size() && next_ >= files_[i].end.value_or(PL_UNKNOWN)) ++i;
  return i;
}

pl::result<chunk> tracked_file::read(limits how, chunk reuse) {
  for (;;) {
    const auto at = current();
    auto& g = files_[at];
    next_ = std::max(next_, g.base);  // files in between may be lost
    if (follow_ && !g.end && overwritten()) {
      if (auto again = start_again("was overwritten"); !again) return again.why();
      continue;
    }
    how.take_last = !follow_ || g.end.has_value();
    auto got = read_lines(g.fd.get(), next_ - g.base, how, std::move(reuse));
    if (!got.ok()) return pl::retry(path_ + ": " + got.why().message);
    for (auto& l : got->lines) l.offset += g.base;
    got->next += g.base;
    next_ = got->next;
    if (!got->lines.empty() || !got->at_end || !follow_) return got;
    if (g.end) {                          // an older file that was read to its end, which may have moved since
      const auto moved = next_ - *g.end;  // unsigned: wraps back
      g.end = next_;
      for (auto later = at + 1; later < files_.size(); ++later) {
        files_[later].base += moved;
        if (files_[later].end) *files_[later].end += moved;
      }
      place_changed_ = true;
    } else {
      remember_print();
      auto fresh = renewed();
      if (!fresh.ok()) return fresh.why();
      if (!*fresh) return got;
    }
    reuse = std::move(*got);
  }
}

void tracked_file::remember_print() {
  auto& g = files_.back();
  if (next_ - g.base == print_.size) return;
  print_ = print_of(g.fd.get(), next_ - g.base, small_sample);
  (void)g.content.extend(g.fd.get(), print_.size);  // a part is enough
}

// Return whether the newest file, which has changed, no longer begins with what was read.
bool tracked_file::overwritten() {
  const auto& g = files_.back();
  const auto modified = g.modified();
  if (print_.size == 0 || modified == print_.modified || g.size() < print_.size) return false;
  if (!begins_with(g.fd.get(), print_)) return true;
  if (g.size() > print_.size) return false;  // lines were appended
  print_.modified = modified;                // compare the content once for each change
  return !g.content.matches(g.fd.get());
}

// Continue at the beginning of the newest file: its old content no longer exists, unless there is a copy of it.
pl::result<void> tracked_file::start_again(const std::string& why) {
  auto reopened = open_path(path_);
  if (!reopened.ok()) return reopened.why();
  auto copy = find_copy(print_);
  const auto base = files_.back().base;
  files_.clear();
  if (copy && next_ - base <= copy->size()) {
    warn_(path_ + " " + why + "; its old content is read to its end from " + copy->name);
    add(std::move(*copy), base);
  } else {
    warn_(path_ + " " + why + "; continuing at its beginning");
  }
  add(std::move(*reopened), next_);
  return {};
}

// Return whether the path names a new file, or the file was truncated. The rest of a renamed file is read first.
pl::result<bool> tracked_file::renewed() {
  auto& g = files_.back();
  struct stat named {};
  const bool exists = ::stat(path_.c_str(), &named) == 0;
  if (exists && named.st_ino == g.inode) {
    if (next_ - g.base <= static_cast<std::uint64_t>(named.st_size)) return false;
    if (auto again = start_again("was truncated"); !again) return again.why();
    return true;
  }
  if (!exists) return false;  // renamed, but there is no new file yet: the old one may still grow
  auto fresh = open_path(path_);
  if (!fresh.ok()) return fresh.why();
  add_rotated(0, *fresh);
  add(std::move(*fresh), next_);
  return true;
}

pl::result<void> tracked_file::seek(std::uint64_t next) {
  if (files_.empty() || next < files_.front().base)
    return pl::fatal(path_ + ": position " + std::to_string(next) +
                     " is in a file that was rotated and is no longer open; it cannot be read again");
  next_ = next;
  return {};
}

void tracked_file::settled(std::uint64_t next) {
  while (files_.size() > 1 && files_.front().end && *files_.front().end <= next && *files_.front().end <= next_) {
    files_.pop_front();
    place_changed_ = true;
  }
}

std::uint64_t tracked_file::end() const {
  const auto& g = files_.back();
  return std::max(next_, g.base + g.size());
}

bool tracked_file::holds(std::uint64_t inode) const noexcept {
  return std::ranges::any_of(files_, [&](const auto& g) { return g.inode == inode; });
}

known_files tracked_file::known() {
  known_files all;
  for (auto& g : files_) {
    const auto read = std::min(std::max(next_, g.base) - g.base, g.size());
    auto& known = all.emplace_back(known_file{g.base, g.inode, print_of(g.fd.get(), read)});
    if (g.content.extend(g.fd.get(), read)) add_content(g.fd.get(), g.content, known.print);
  }
  return all;
}

}  // namespace lines
