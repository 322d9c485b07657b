// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <file_common/line_file.hpp>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace pl::files {
namespace fs = std::filesystem;
using std::chrono::microseconds;
using std::chrono::system_clock;

namespace {

constexpr std::size_t most_unsynced = std::size_t{8} << 20U;  // bytes that are kept in memory

std::string error_name(int error) { return std::generic_category().message(error); }

bool needs_operator(int error) {
  return error == EACCES || error == EPERM || error == EISDIR || error == ENOTDIR || error == ENAMETOOLONG ||
         error == ELOOP || error == ENXIO || error == EINVAL;
}

std::string advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free space on that disk; no row of this batch is in the file, and the batch will be retried";
    case EFBIG:
      return "the file has reached its size limit: set rotate.max_size, or raise the limit (ulimit -f)";
    case EACCES:
    case EPERM:
      return "give this user permission to write there, or change `path`";
    case EROFS:
      return "the file system is mounted read-only";
    case EISDIR:
      return "a folder has that name; change `path`";
    case ENOTDIR:
      return "a part of the path is a file, not a folder; change `path`";
    case EMFILE:
    case ENFILE:
      return "too many open files: raise the limit (ulimit -n)";
    default:
      return "it will be retried";
  }
}

// Return the mode for folders: that of the file, with execute permission wherever there is read permission.
mode_t folder_mode(mode_t file) { return file | ((file & 0444U) >> 2U) | 0700U; }

system_clock::time_point born(int fd, const struct stat& s) {
  struct statx x {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && (x.stx_mask & STATX_BTIME) != 0)
    return system_clock::from_time_t(x.stx_btime.tv_sec);
  return system_clock::from_time_t(s.st_mtim.tv_sec);
}

// Return the offset after the last '\n' before `end`; 0 if there is none.
result<off_t> end_of_last_line(int fd, off_t end) {
  std::array<char, 65536> block;
  while (end > 0) {
    const auto size = std::min<off_t>(end, static_cast<off_t>(block.size()));
    const auto n = ::pread(fd, block.data(), static_cast<std::size_t>(size), end - size);
    if (n < 0 && errno == EINTR) continue;
    if (n != size) return retry("cannot read back: " + error_name(n < 0 ? errno : EIO));
    const std::string_view text(block.data(), static_cast<std::size_t>(n));
    if (const auto at = text.rfind('\n'); at != std::string_view::npos) return end - size + static_cast<off_t>(at) + 1;
    end -= size;
  }
  return 0;
}

}  // namespace

line_file::line_file(line_file_options options, warning warn)
    : options_(std::move(options)), name_(options_.path.string()), warn_(std::move(warn)) {}

failure line_file::problem(std::string_view what, int error) const {
  return retry(std::string(what) + " " + name_ + ": " + error_name(error) + "; " + advice(error));
}

result<void> line_file::open() {
  if (auto r = open_file(); !r) return r;
  file_lock held(fd_.get());
  if (auto r = acquire(held); !r) return r;
  struct stat now {};
  auto same = still_there(now);
  if (!same.ok()) return same.why();
  return *same ? repair(now) : result<void>{};  // if it was just rotated, the next append opens the new file
}

result<void> line_file::open_file() {
  const auto refuse = [&](std::string_view what, int error) {
    auto why = problem(what, error);
    if (needs_operator(error)) why.code = status::fatal;
    return why;
  };
  if (const auto error = make_folders(options_.path.parent_path(), folder_mode(options_.mode)))
    return refuse("cannot create the folder of", error.value());
  struct stat before {};
  const bool existed = ::stat(name_.c_str(), &before) == 0;
  if (existed && !S_ISREG(before.st_mode) && !S_ISCHR(before.st_mode))
    return fatal("cannot write to " + name_ + ": it is not a regular file; change `path`");
  descriptor fresh(::open(name_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, options_.mode));
  if (!fresh) return refuse("cannot open", errno);
  if (!existed && options_.sync)
    if (const auto error = sync_folder_of(options_.path)) return refuse("cannot sync the folder of", error.value());
  fd_ = std::move(fresh);
  born_.reset();
  leftover_.reset();
  unsynced_at_.reset();
  return {};
}

result<void> line_file::acquire(file_lock& lock) {
  switch (lock.acquire(options_.lock_timeout)) {
    case lock_outcome::locked:
      return {};
    case lock_outcome::unsupported:
      if (!std::exchange(lock_missing_logged_, true))
        warn_(name_ + " cannot be locked (" + error_name(errno) + "): make sure that nothing else writes to it");
      return {};
    case lock_outcome::busy:
      break;
  }
  return retry(name_ + " is locked by another program, which has not released it; find the program with `fuser " +
               name_ + "`, or use a separate file for each pipeline");
}

// A line_chooser whose lines do not depend on the content of the file.
class line_file::fixed_lines final : public line_chooser {
 public:
  explicit fixed_lines(std::string_view lines) : lines_(lines) {}
  bool far_behind(const struct stat& /*now*/) override { return false; }
  result<void> catch_up(const struct stat& /*now*/) override { return {}; }
  std::string_view choose() override { return lines_; }
  void appended(off_t /*end*/) override {}

 private:
  std::string_view lines_;
};

result<void> line_file::append(std::string_view lines) {
  if (lines.empty()) return {};
  fixed_lines chooser(lines);
  return append(chooser);
}

result<void> line_file::append(line_chooser& chooser) {
  // Repeat, because another writer may have rotated the file before the lock was acquired.
  for (int round = 0; round < 8; ++round) {
    auto done = append_once(chooser);
    if (!done.ok()) return done.why();
    if (*done) return {};
  }
  return retry(name_ + " is rotated by another program faster than it can be opened; it will be retried");
}

// Return false if the file has changed and the caller must repeat.
result<bool> line_file::append_once(line_chooser& chooser) {
  if (!fd_ || std::exchange(renamed_, false)) {
    if (auto r = open_file(); !r) return r.why().code == status::fatal ? retry(r.why().message) : r.why();
  }
  file_lock held(fd_.get());
  if (auto r = acquire(held); !r) return r.why();
  struct stat now {};
  auto same = still_there(now);
  if (!same.ok()) return same.why();
  renamed_ = !*same;
  if (auto r = remove_leftover(now); !r) return r.why();
  if (renamed_) return false;
  if (write_again_)
    if (auto r = write_again(now); !r) return r.why();
  if (chooser.far_behind(now)) {
    held.release();  // let other writers write meanwhile
    if (auto r = chooser.catch_up(now); !r) return r.why();
    return false;
  }
  if (auto r = chooser.catch_up(now); !r) return r.why();
  const auto lines = chooser.choose();
  if (lines.empty()) return true;
  if (rotation_due(now, lines.size())) {
    if (auto r = rotate(); !r) return r.why();
    renamed_ = true;
    return false;
  }
  if (auto r = repair(now); !r) return r.why();
  if (options_.keep_unsynced && unsynced_.empty()) unsynced_at_ = now.st_size;
  if (auto r = write_all(lines, now.st_size); !r) return r.why();
  if (options_.keep_unsynced) unsynced_ += lines;
  if (unsynced_.size() >= most_unsynced)
    if (auto r = sync_locked(); !r) warn_(r.why().message);  // the next append tries again
  chooser.appended(now.st_size + static_cast<off_t>(lines.size()));
  return true;
}

result<bool> line_file::still_there(struct stat& now) {
  bool named = false;
  if (const int error = look_at(options_.path, fd_.get(), now, named)) return problem("cannot stat", error);
  return named;
}

// Truncate half a line that a crash during a write left at the end. Its rows were not settled and are written again.
result<void> line_file::repair(struct stat& now) {
  if (!S_ISREG(now.st_mode) || now.st_size == 0) return {};
  char last = 0;
  if (::pread(fd_.get(), &last, 1, now.st_size - 1) != 1) return problem("cannot read back", errno);
  if (last == '\n') return {};
  auto whole = end_of_last_line(fd_.get(), now.st_size);
  if (!whole.ok()) return retry(name_ + ": " + whole.why().message);
  char first = 0;
  if (::pread(fd_.get(), &first, 1, *whole) != 1) return problem("cannot read back", errno);
  if (first != '{' && first != '\0')
    return fatal(name_ +
                 " ends in a line that this program cannot have written (it does not begin with '{'); move the "
                 "file away, or end its last line with a newline");
  const auto torn = static_cast<std::uint64_t>(now.st_size - *whole);
  if (::ftruncate(fd_.get(), *whole) != 0) return problem("cannot truncate the torn last line of", errno);
  warn_(name_ + ": removed the last " + std::to_string(torn) +
        " bytes, an incomplete line from a crash; its records will be written again");
  repaired_ += torn;
  now.st_size = *whole;
  return {};
}

result<void> line_file::write_all(std::string_view lines, off_t before) {
  int error = pl::write_all(fd_.get(), lines).value();
  // After a failed sync the kernel may drop the dirty pages. Only a new write is safe, so truncate in this case, too.
  if (error == 0 && options_.sync && ::fdatasync(fd_.get()) != 0 && errno != EINVAL) error = errno;
  if (error == 0) return {};
  auto why = problem("cannot write to", error);
  if (::ftruncate(fd_.get(), before) == 0 || errno == EINVAL) return why;
  why.message += " (truncating the partial write failed, too: " + error_name(errno) + ")";
  struct stat now {};
  if (::fstat(fd_.get(), &now) == 0 && now.st_size > before) leftover_ = leftover{before, now.st_size};
  return why;
}

// Remove what a failed append has left, before anything is appended: its rows are written again. If another writer has
// appended meanwhile, it stays.
result<void> line_file::remove_leftover(struct stat& now) {
  if (!leftover_) return {};
  if (now.st_size == leftover_->end) {
    if (::ftruncate(fd_.get(), leftover_->begin) != 0)
      return problem("cannot remove the rest of a failed write from", errno);
    now.st_size = leftover_->begin;
  }
  leftover_.reset();
  return {};
}

result<void> line_file::sync() {
  if (!fd_) return {};
  if (!write_again_) return sync_locked();
  file_lock held(fd_.get());
  if (auto r = acquire(held); !r) return r;
  struct stat now {};
  if (::fstat(fd_.get(), &now) != 0) return problem("cannot stat", errno);
  if (auto r = remove_leftover(now); !r) return r;
  return write_again(now);
}

result<void> line_file::sync_locked() {
  if (::fdatasync(fd_.get()) == 0 || errno == EINVAL) {
    unsynced_.clear();
    return {};
  }
  write_again_ = !unsynced_.empty();
  return problem("cannot sync", errno);
}

// Write the lines that a failed sync may have lost again, and sync them. They replace those in the file, unless another
// writer has appended meanwhile: then the file may hold them twice.
result<void> line_file::write_again(struct stat& now) {
  if (unsynced_at_ && *unsynced_at_ + static_cast<off_t>(unsynced_.size()) == now.st_size) {
    if (::ftruncate(fd_.get(), *unsynced_at_) != 0) return problem("cannot truncate", errno);
    now.st_size = *unsynced_at_;
  }
  if (auto r = repair(now); !r) return r;
  unsynced_at_.reset();
  const auto begin = now.st_size;
  int error = pl::write_all(fd_.get(), unsynced_).value();
  if (error == 0 && ::fdatasync(fd_.get()) != 0 && errno != EINVAL) error = errno;
  if (error != 0) {
    // Without this rest, the next attempt writes the lines once. With it, they are in the file twice.
    if (::ftruncate(fd_.get(), begin) == 0 || errno == EINVAL)
      return problem("cannot write again what was not synced to", error);
    if (struct stat rest{}; ::fstat(fd_.get(), &rest) == 0 && rest.st_size > begin)
      leftover_ = leftover{begin, rest.st_size};
    return problem("cannot write again what was not synced to", error);
  }
  warn_(name_ + ": " + std::to_string(unsynced_.size()) +
        " bytes that a failed sync may have lost were written again; none is lost");
  now.st_size = begin + static_cast<off_t>(unsynced_.size());
  unsynced_.clear();
  write_again_ = false;
  return {};
}

result<void> line_file::close() {
  auto r = sync();
  fd_.reset();
  return r;
}

bool line_file::rotation_due(const struct stat& now, std::size_t more) {
  const auto& r = options_.rotate;
  if (!S_ISREG(now.st_mode) || now.st_size == 0) return false;
  if (r.max_size != 0 && static_cast<std::uint64_t>(now.st_size) + more > r.max_size) return true;
  if (r.max_age.count() == 0) return false;
  if (!born_) born_ = born(fd_.get(), now);
  return system_clock::now() - *born_ >= r.max_age;
}

result<void> line_file::rotate() {
  auto at = std::chrono::floor<microseconds>(system_clock::now());
  // Names must sort by time even if the clock was set back.
  if (const auto files = rotations_of(options_.path); !files.empty()) at = std::max(at, files.back() + microseconds(1));
  if (!options_.sync)
    if (auto r = sync_locked(); !r) return r;  // nothing syncs the file after it is renamed
  while (const auto error = rename_durably(fd_.get(), name_, rotated_name(options_.path, at), if_exists::fail)) {
    if (error.value() != EEXIST) return problem("cannot rotate", error.value());
    at += microseconds(1);
  }
  ++rotations_;
  if (options_.rotate.max_files != 0) prune();
  return {};
}

void line_file::prune() {
  auto files = rotations_of(options_.path);
  const std::size_t keep = options_.rotate.max_files;
  for (std::size_t i = 0; i + keep < files.size(); ++i) {
    const auto old = rotated_name(options_.path, files[i]);
    if (::unlink(old.c_str()) == 0)
      warn_("removed the old file " + old.string() + " with its rows: there are more than " + std::to_string(keep) +
            " rotated files (rotate.max_files)");
    else if (errno != ENOENT)
      warn_("cannot remove the old file " + old.string() + ": " + error_name(errno));
  }
}

result<void> line_file::check() const {
  struct stat s {};
  if (::stat(name_.c_str(), &s) == 0) {
    if (!S_ISREG(s.st_mode) && !S_ISCHR(s.st_mode))
      return fatal("cannot write to " + name_ + ": it is not a regular file; change `path`");
    if (::access(name_.c_str(), W_OK | R_OK) == 0) return {};
    return fatal("cannot write to " + name_ + ": " + error_name(errno) + "; " + advice(errno));
  }
  auto folder = options_.path.parent_path();
  while (!folder.empty() && ::stat(folder.c_str(), &s) != 0 && errno == ENOENT) folder = folder.parent_path();
  const auto there = folder.empty() ? std::string(".") : folder.string();
  if (::stat(there.c_str(), &s) == 0 && !S_ISDIR(s.st_mode))
    errno = ENOTDIR;
  else if (::access(there.c_str(), W_OK | X_OK) == 0)
    return {};
  return fatal("cannot create " + name_ + " in " + there + ": " + error_name(errno) + "; " + advice(errno));
}

}  // namespace pl::files
