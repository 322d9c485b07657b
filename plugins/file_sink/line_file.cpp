// SPDX-License-Identifier: Apache-2.0
#include "line_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

namespace pl::files {
namespace fs = std::filesystem;
using std::chrono::microseconds;
using std::chrono::sys_time;
using std::chrono::system_clock;

namespace {

std::string error_name(int error) { return std::generic_category().message(error); }

bool only_a_person_helps(int error) {
  return error == EACCES || error == EPERM || error == EISDIR || error == ENOTDIR || error == ENAMETOOLONG ||
         error == ELOOP || error == ENXIO || error == EINVAL;
}

std::string advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free space on that disk; nothing of this batch is in the file, and it will be written again";
    case EFBIG:
      return "the file is at its size limit: set rotate.max_size, or raise the limit (ulimit -f)";
    case EACCES:
    case EPERM:
      return "give this user the right to write there, or change `path`";
    case EROFS:
      return "the file system is mounted read-only";
    case EISDIR:
      return "there is a folder of that name; change `path`";
    case ENOTDIR:
      return "a part of the path is a file, not a folder; change `path`";
    case EMFILE:
    case ENFILE:
      return "too many open files: raise the limit (ulimit -n)";
    default:
      return "it will be tried again";
  }
}

// Folders get the file's mode, with the right to enter wherever there is the right to read.
mode_t folder_mode(mode_t file) { return file | ((file & 0444U) >> 2U) | 0700U; }

int make_folders(const fs::path& folder, mode_t mode) {
  if (folder.empty()) return 0;
  struct stat s {};
  if (::stat(folder.c_str(), &s) == 0) return S_ISDIR(s.st_mode) ? 0 : ENOTDIR;
  if (folder.has_parent_path() && folder.parent_path() != folder)
    if (const int error = make_folders(folder.parent_path(), mode)) return error;
  return ::mkdir(folder.c_str(), mode) == 0 || errno == EEXIST ? 0 : errno;
}

// A new name in a folder is durable only once the folder is.
void sync_folder(const fs::path& file) {
  const auto folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const descriptor d(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (d) ::fsync(d.get());
}

system_clock::time_point born(int fd, const struct stat& s) {
  struct statx x {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && (x.stx_mask & STATX_BTIME) != 0)
    return system_clock::from_time_t(x.stx_btime.tv_sec);
  return system_clock::from_time_t(s.st_mtim.tv_sec);
}

// Offset behind the last '\n' before `end`; 0 where there is none.
result<off_t> end_of_last_line(int fd, off_t end) {
  std::array<char, 65536> block;
  while (end > 0) {
    const auto size = std::min<off_t>(end, static_cast<off_t>(block.size()));
    const auto n = ::pread(fd, block.data(), static_cast<std::size_t>(size), end - size);
    if (n < 0 && errno == EINTR) continue;
    if (n != size) return retry("reading back failed: " + error_name(n < 0 ? errno : EIO));
    const std::string_view text(block.data(), static_cast<std::size_t>(n));
    if (const auto at = text.rfind('\n'); at != std::string_view::npos) return end - size + static_cast<off_t>(at) + 1;
    end -= size;
  }
  return 0;
}

// When a file was rotated, from its name; nothing where it is no rotated file of `path`.
std::optional<sys_time<microseconds>> rotated_at(const fs::path& path, std::string_view name) {
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
         std::chrono::seconds(second) + microseconds(micro);
}

// Never over an existing file. Answers an errno.
int rename_to_new(const std::string& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL) return errno;  // some file systems don't know RENAME_NOREPLACE; the lock is held, so look first
  if (::access(to.c_str(), F_OK) == 0) return EEXIST;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

// Ascending.
std::vector<sys_time<microseconds>> rotations_of(const fs::path& path) {
  std::vector<sys_time<microseconds>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path.has_parent_path() ? path.parent_path() : fs::path("."), error))
    if (const auto at = rotated_at(path, entry.path().filename().string())) found.push_back(*at);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void descriptor::reset() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

fs::path rotated_name(const fs::path& path, sys_time<microseconds> at) {
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

std::vector<fs::path> rotated_files(const fs::path& path) {
  std::vector<fs::path> names;
  for (const auto at : rotations_of(path)) names.push_back(rotated_name(path, at));
  return names;
}

// Held while one batch is written.
struct line_file::lock_guard {
  int fd;
  explicit lock_guard(int f) noexcept : fd(f) {}
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;
  ~lock_guard() { release(); }
  void release() noexcept {
    if (fd >= 0) ::flock(std::exchange(fd, -1), LOCK_UN);
  }
};

line_file::line_file(line_file_options options, warning warn)
    : options_(std::move(options)), name_(options_.path.string()), warn_(std::move(warn)) {}

failure line_file::problem(std::string_view what, int error) const {
  return retry(std::string(what) + " " + name_ + ": " + error_name(error) + "; " + advice(error));
}

result<void> line_file::open() {
  if (auto r = open_file(); !r) return r;
  if (auto r = lock(); !r) return r;
  const lock_guard held(fd_.get());
  struct stat now {};
  auto same = still_there(now);
  if (!same.ok()) return same.why();
  return *same ? repair(now) : result<void>{};  // rotated under us this very moment: the next append looks again
}

result<void> line_file::open_file() {
  const auto refuse = [&](std::string_view what, int error) {
    auto why = problem(what, error);
    if (only_a_person_helps(error)) why.code = status::fatal;
    return why;
  };
  if (const int error = make_folders(options_.path.parent_path(), folder_mode(options_.mode)))
    return refuse("cannot make the folder of", error);
  struct stat before {};
  const bool existed = ::stat(name_.c_str(), &before) == 0;
  if (existed && !S_ISREG(before.st_mode) && !S_ISCHR(before.st_mode))
    return fatal("cannot write to " + name_ + ": it is no regular file; change `path`");
  descriptor fresh(::open(name_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, options_.mode));
  if (!fresh) return refuse("cannot open", errno);
  if (!existed && options_.sync) sync_folder(options_.path);
  fd_ = std::move(fresh);
  born_.reset();
  return {};
}

result<void> line_file::lock() {
  using clock = std::chrono::steady_clock;
  const auto until = clock::now() + options_.lock_timeout;
  for (auto wait = std::chrono::microseconds(100);; wait = std::min(wait * 2, std::chrono::microseconds(10'000))) {
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0) return {};
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {  // a file system without locks
      if (!std::exchange(lock_missing_told_, true))
        warn_(name_ + " cannot be locked (" + error_name(errno) + "): make sure that nothing else writes to it");
      return {};
    }
    if (clock::now() >= until)
      return retry(name_ + " is locked by another program, which has not let go of it; find it with `fuser " + name_ +
                   "`, or give each pipeline a file of its own");
    std::this_thread::sleep_for(wait);
  }
}

// Lines that don't depend on what is there.
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
  // A few rounds: whenever the lock is got, another writer may just have rotated the file away.
  for (int round = 0; round < 8; ++round) {
    auto done = append_once(chooser);
    if (!done.ok()) return done.why();
    if (*done) return {};
  }
  return retry(name_ + " is rotated by someone faster than it can be opened; it will be tried again");
}

// False: once more, the file has changed.
result<bool> line_file::append_once(line_chooser& chooser) {
  if (!fd_ || std::exchange(renamed_, false)) {
    if (auto r = open_file(); !r) return r.why().code == status::fatal ? retry(r.why().message) : r.why();
  }
  if (auto r = lock(); !r) return r.why();
  lock_guard held(fd_.get());
  struct stat now {};
  auto same = still_there(now);
  if (!same.ok()) return same.why();
  renamed_ = !*same;
  if (renamed_) return false;
  if (chooser.far_behind(now)) {
    held.release();  // others may write meanwhile
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
  if (auto r = write_all(lines, now.st_size); !r) return r.why();
  chooser.appended(now.st_size + static_cast<off_t>(lines.size()));
  return true;
}

// Does the path still name the file that is open?
result<bool> line_file::still_there(struct stat& now) {
  struct stat named {};
  if (::fstat(fd_.get(), &now) != 0) return problem("cannot look at", errno);
  if (::stat(name_.c_str(), &named) != 0)
    return errno == ENOENT ? result<bool>(false) : problem("cannot look at", errno);
  return named.st_dev == now.st_dev && named.st_ino == now.st_ino;
}

// A crash in the middle of a write leaves half a line. Its rows were never settled, so they come again: cut it off.
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
  if (::ftruncate(fd_.get(), *whole) != 0) return problem("cannot cut the torn last line off", errno);
  warn_(name_ + ": cut off the last " + std::to_string(torn) +
        " bytes, half a line that a crash left behind; its records are written again");
  repaired_ += torn;
  now.st_size = *whole;
  return {};
}

result<void> line_file::write_all(std::string_view lines, off_t before) {
  int error = 0;
  while (!lines.empty() && error == 0) {
    const auto n = ::write(fd_.get(), lines.data(), lines.size());
    if (n > 0)
      lines.remove_prefix(static_cast<std::size_t>(n));
    else if (n < 0 && errno != EINTR)
      error = errno;
    else if (n == 0)
      error = ENOSPC;
  }
  // After a failed sync the kernel may drop the pages and forget: only writing them anew helps. So: cut off there, too.
  if (error == 0 && options_.sync && ::fdatasync(fd_.get()) != 0 && errno != EINVAL) error = errno;
  if (error == 0) return {};
  auto why = problem("cannot write to", error);
  if (::ftruncate(fd_.get(), before) != 0 && errno != EINVAL)
    why.message += " (cutting off what was written failed too: " + error_name(errno) + ")";
  return why;
}

result<void> line_file::sync() {
  if (!fd_ || ::fdatasync(fd_.get()) == 0 || errno == EINVAL) return {};
  return problem("cannot make durable", errno);
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
  // Names sort by time even when the clock steps back.
  if (const auto files = rotations_of(options_.path); !files.empty()) at = std::max(at, files.back() + microseconds(1));
  if (!options_.sync)
    if (auto r = sync(); !r) return r;  // nobody syncs it once it has another name
  while (const int error = rename_to_new(name_, rotated_name(options_.path, at))) {
    if (error != EEXIST) return problem("cannot rotate", error);
    at += microseconds(1);
  }
  ++rotations_;
  if (options_.rotate.max_files != 0) prune();
  sync_folder(options_.path);
  return {};
}

void line_file::prune() {
  auto files = rotations_of(options_.path);
  const std::size_t keep = options_.rotate.max_files;
  for (std::size_t i = 0; i + keep < files.size(); ++i) {
    const auto old = rotated_name(options_.path, files[i]);
    if (::unlink(old.c_str()) != 0 && errno != ENOENT)
      warn_("cannot remove the old file " + old.string() + ": " + error_name(errno));
  }
}

result<void> line_file::check() const {
  struct stat s {};
  if (::stat(name_.c_str(), &s) == 0) {
    if (!S_ISREG(s.st_mode) && !S_ISCHR(s.st_mode))
      return fatal("cannot write to " + name_ + ": it is no regular file; change `path`");
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
  return fatal("cannot make " + name_ + " in " + there + ": " + error_name(errno) + "; " + advice(errno));
}

}  // namespace pl::files
