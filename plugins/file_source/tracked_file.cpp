// SPDX-License-Identifier: Apache-2.0
#include "tracked_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace lines {
namespace fs = std::filesystem;

namespace {

std::uint64_t size_of(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
}

}  // namespace

pl::result<tracked_file::generation> tracked_file::open_path(const std::string& path) const {
  generation g;
  g.fd = descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!g.fd) {
    const auto text = "cannot read " + path + ": " + std::generic_category().message(errno);
    return errno == ENOENT && !follow_ ? pl::fatal(text + "; check `path`")
                                       : pl::retry(text + "; give this user the right to read it, or check `path`");
  }
  struct stat s {};
  ::fstat(g.fd.get(), &s);
  if (!S_ISREG(s.st_mode))
    return pl::fatal(path + " is no regular file, so nothing in it could be read again after a failure; check `path`");
  g.inode = s.st_ino;
  return g;
}

// A file that was rotated keeps its inode, under another name in the same folder.
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

void tracked_file::add(generation g) {
  files_.push_back(std::move(g));
  place_changed_ = true;
}

pl::result<void> tracked_file::open(std::uint64_t next, anchor known) {
  auto now = open_path(path_);
  if (!now.ok()) return now.why();
  next_ = next;
  now->base = known.base;
  const bool same = known.inode == 0 || known.inode == now->inode;
  const bool fits = next >= known.base && next - known.base <= size_of(now->fd.get());
  if (same && fits) {
    add(std::move(*now));
    return {};
  }
  if (!follow_)
    return pl::fatal(path_ + " has " + std::to_string(size_of(now->fd.get())) + " bytes, but was read up to byte " +
                     std::to_string(next) +
                     " before; it was replaced: reset this pipeline's positions, or put the file back");
  if (auto old = same ? std::nullopt : find_renamed(known.inode);
      old && next >= known.base && next - known.base <= size_of(old->fd.get())) {
    old->base = known.base;
    old->end = known.base + size_of(old->fd.get());
    now->base = *old->end;
    files_.push_back(std::move(*old));
  } else {
    warn_(path_ + " was replaced or truncated while nobody read it; what was written to the old file behind position " +
          std::to_string(next) + " can't be read any more. Going on at the begin of the new file");
    now->base = next;
  }
  add(std::move(*now));
  return {};
}

// The file that position next_ lies in.
std::size_t tracked_file::current() const {
  std::size_t i = 0;
  while (i + 1 < files_.size() && next_ >= files_[i].end.value_or(PL_UNKNOWN)) ++i;
  return i;
}

pl::result<chunk> tracked_file::read(limits how, chunk reuse) {
  for (;;) {
    const auto at = current();
    auto& g = files_[at];
    how.take_last = !follow_ || g.end.has_value();
    auto got = read_lines(g.fd.get(), next_ - g.base, how, std::move(reuse));
    if (!got.ok()) return pl::retry(path_ + ": " + got.why().message);
    for (auto& l : got->lines) l.offset += g.base;
    got->next += g.base;
    next_ = got->next;
    if (!got->lines.empty() || !got->at_end || !follow_) return got;
    if (g.end) {  // an older file, read to its end
      g.end = next_;
      files_[at + 1].base = next_;
      place_changed_ = true;
    } else {
      auto fresh = renewed();
      if (!fresh.ok()) return fresh.why();
      if (!*fresh) return got;
    }
    reuse = std::move(*got);
  }
}

// Has the path got a new file, or the file been truncated? Then what is left of the old one is read to its end first.
pl::result<bool> tracked_file::renewed() {
  auto& g = files_.back();
  struct stat named {};
  const bool there = ::stat(path_.c_str(), &named) == 0;
  if (there && named.st_ino == g.inode) {
    if (next_ - g.base <= static_cast<std::uint64_t>(named.st_size)) return false;
    warn_(path_ + " was truncated; going on at its begin");
    generation again;
    auto reopened = open_path(path_);
    if (!reopened.ok()) return reopened.why();
    again = std::move(*reopened);
    again.base = next_;
    files_.clear();  // what it held before is gone
    add(std::move(again));
    return true;
  }
  if (!there) return false;  // renamed, and the new one is not there yet: the old one may still be written to
  auto fresh = open_path(path_);
  if (!fresh.ok()) return fresh.why();
  g.end = g.base + size_of(g.fd.get());
  fresh->base = *g.end;
  add(std::move(*fresh));
  return true;
}

pl::result<void> tracked_file::seek(std::uint64_t next) {
  if (files_.empty() || next < files_.front().base)
    return pl::fatal(path_ + ": position " + std::to_string(next) +
                     " lies in a file that was rotated away; it can't be read again");
  next_ = next;
  return {};
}

void tracked_file::settled(std::uint64_t next) {
  while (files_.size() > 1 && files_.front().end && *files_.front().end <= next && *files_.front().end <= next_)
    files_.pop_front();
}

std::uint64_t tracked_file::end() const {
  const auto& g = files_.back();
  return std::max(next_, g.base + size_of(g.fd.get()));
}

anchor tracked_file::place() const { return {files_.back().base, files_.back().inode}; }

}  // namespace lines
