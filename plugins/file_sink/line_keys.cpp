// SPDX-License-Identifier: Apache-2.0
#include "line_keys.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace pl::files {
namespace fs = std::filesystem;

namespace {

// The maximum number of bytes to read while other writers wait for the lock.
constexpr off_t small_rest = 256 << 10;
constexpr std::size_t block_size = 256UL << 10U;

failure problem(const std::string& name, int error) {
  return retry("cannot read " + name + ": " + std::generic_category().message(error) +
               "; unique_by needs the existing rows: give this user permission to read the file");
}

}  // namespace

line_keys::line_keys(fs::path path, std::vector<key_column> columns, bool durable)
    : path_(std::move(path)), durable_(durable), reader_(std::move(columns)) {}

bool line_keys::far_behind(const struct stat& now) const {
  return !current_ || current_is_ != identity_of(now) || now.st_size < read_to_ || now.st_size - read_to_ > small_rest;
}

result<void> line_keys::catch_up(const struct stat& now) {
  if (!current_ || current_is_ != identity_of(now))
    if (auto r = find_files(now); !r) return r;
  if (!current_ || current_is_ != identity_of(now) || !S_ISREG(now.st_mode)) return {};  // the next call finds it
  if (now.st_size < read_to_) {                                                          // the file was truncated
    drop_stale_keys();
    current_id_ = ++last_id_;
    read_to_ = 0;
  }
  return read_lines(current_.get(), path_.string(), read_to_, now.st_size, current_id_);
}

void line_keys::appended(std::span<const line_key> keys, off_t end) {
  for (const auto& k : keys) file_of_.insert_or_assign(k, current_id_);
  read_to_ = end;
}

// Open the new file that the path names now, and read the rotated files that are not known yet.
result<void> line_keys::find_files(const struct stat& now) {
  descriptor fresh(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fresh) return errno == ENOENT ? result<void>{} : problem(path_.string(), errno);
  struct stat named {};
  if (::fstat(fresh.get(), &named) != 0) return problem(path_.string(), errno);
  if (identity_of(named) != identity_of(now)) return {};
  auto kept = finish_current();
  if (!kept.ok()) return kept.why();
  if (auto r = read_rotated(*kept); !r) return r;
  current_ = std::move(fresh);
  current_is_ = identity_of(named);
  current_id_ = ++last_id_;
  read_to_ = 0;
  return {};
}

// Read the lines that others appended to the file before it was renamed. Return false if the file is deleted and its
// lines no longer count.
result<bool> line_keys::finish_current() {
  struct stat s {};
  if (!current_ || ::fstat(current_.get(), &s) != 0 || s.st_nlink == 0) return false;
  if (S_ISREG(s.st_mode))
    if (auto r = read_lines(current_.get(), path_.string(), read_to_, s.st_size, current_id_); !r) return r.why();
  return true;
}

result<void> line_keys::read_rotated(bool current_is_kept) {
  std::vector<earlier_file> found;
  bool current_found = false;
  for (const auto& name : rotated_files(path_)) {
    const descriptor file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file && errno == ENOENT) continue;  // deleted in the meantime
    struct stat s {};
    if (!file || ::fstat(file.get(), &s) != 0) return problem(name.string(), errno);
    const auto is = identity_of(s);
    const auto known =
        std::find_if(earlier_.begin(), earlier_.end(), [&](const auto& e) { return e.is == is && e.name == name; });
    if (current_ && is == current_is_) {
      current_found = true;
      found.push_back({current_id_, is, name});
    } else if (known != earlier_.end()) {
      found.push_back(*known);
    } else {
      found.push_back({++last_id_, is, name});
      off_t from = 0;
      if (auto r = read_lines(file.get(), name.string(), from, s.st_size, found.back().id); !r) return r;
    }
  }
  // The file was renamed by another program (logrotate): its lines count until the next file is renamed.
  if (current_is_kept && !current_found) found.push_back({current_id_, current_is_, {}});
  earlier_ = std::move(found);
  drop_stale_keys();
  return {};
}

// Read whole lines only: bytes after the last newline belong to a torn line or to one that is still being written.
result<void> line_keys::read_lines(int fd, const std::string& name, off_t& from, off_t end, file_id id) {
  if (from >= end) return {};
  std::string text;
  for (off_t at = from; at < end;) {
    const auto have = text.size();
    text.resize(have + std::min(block_size, static_cast<std::size_t>(end - at)));
    const auto n = ::pread(fd, text.data() + have, text.size() - have, at);
    text.resize(have + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return problem(name, errno);
    if (n == 0) break;
    at += n;
    std::size_t begin = 0;
    for (auto stop = text.find('\n', have); stop != std::string::npos; stop = text.find('\n', begin)) {
      add_line(std::string_view(text).substr(begin, stop - begin), id);
      begin = stop + 1;
    }
    text.erase(0, begin);
    from += static_cast<off_t>(begin);
  }
  // A row is dropped because of an existing line, so that line must survive a power failure, too.
  if (durable_ && ::fdatasync(fd) != 0 && errno != EINVAL) return problem(name, errno);
  return {};
}

void line_keys::add_line(std::string_view line, file_id id) {
  ++lines_read_;
  if (const auto key = reader_.read(line)) file_of_.insert_or_assign(*key, id);
}

// Remove the keys of lines that are not in one of the earlier files.
void line_keys::drop_stale_keys() {
  std::erase_if(file_of_, [&](const auto& k) {
    return std::none_of(earlier_.begin(), earlier_.end(), [&](const auto& e) { return e.id == k.second; });
  });
}

}  // namespace pl::files
