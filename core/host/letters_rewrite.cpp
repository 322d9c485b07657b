// SPDX-License-Identifier: Apache-2.0
#include "host/letters_rewrite.hpp"

#include "host/letters.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto lock_timeout = 30s;  // writers hold it for one batch; another `retry` for as long as it rewrites

failure problem(std::string_view what, const fs::path& file, int error) {
  return fatal(fmt::format("{} {}: {}", what, file.string(), std::generic_category().message(error)));
}

class descriptor {
 public:
  explicit descriptor(int fd = -1) noexcept : fd_(fd) {}
  descriptor(descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  descriptor& operator=(descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// Locked, and still the file that the path names. Closing it gives the lock back.
result<descriptor> open_locked(const fs::path& file) {
  const auto until = std::chrono::steady_clock::now() + lock_timeout;
  while (true) {
    descriptor fd(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
    if (!fd) return problem("cannot open", file, errno);
    bool locked = false;
    while (!locked && std::chrono::steady_clock::now() < until) {
      locked = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
      if (!locked && errno != EWOULDBLOCK && errno != EINTR) return problem("cannot lock", file, errno);
      if (!locked) std::this_thread::sleep_for(2ms);
    }
    if (!locked)
      return fatal(
          fmt::format("{} is locked by another program, which has not let go of it for {} s; find it with "
                      "`fuser {}`, and try again",
                      file.string(), lock_timeout / 1s, file.string()));
    struct stat open {
    }, named{};
    if (::fstat(fd.get(), &open) == 0 && ::stat(file.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
        open.st_ino == named.st_ino)
      return fd;
  }
}

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

void sync_folder(const fs::path& file) {
  const auto folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const descriptor d(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (d) ::fsync(d.get());
}

// A file in the making; gone again unless it is put in its place.
class replacement {
 public:
  explicit replacement(const fs::path& of)
      : of_(of),
        name_(of.string() + ".retry"),
        fd_(::open(name_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    if (!fd_) error_ = errno;
  }
  ~replacement() {
    if (!placed_ && fd_) ::unlink(name_.c_str());
  }
  replacement(const replacement&) = delete;
  replacement& operator=(const replacement&) = delete;

  void add(std::string_view text) {
    empty_ = empty_ && text.empty();
    text_ += text;
    if (text_.size() > (1U << 20U)) flush();
  }
  [[nodiscard]] bool empty() const noexcept { return empty_; }
  result<void> put() {
    struct stat s {};
    flush();
    if (error_ == 0 && ::stat(of_.c_str(), &s) != 0) error_ = errno;
    if (error_ == 0 && ::fchmod(fd_.get(), s.st_mode & 07777U) != 0) error_ = errno;
    if (error_ == 0 && (s.st_uid != ::geteuid() || s.st_gid != ::getegid()) &&
        ::fchown(fd_.get(), s.st_uid, s.st_gid) != 0)
      error_ = errno;  // the host that writes there must be able to go on
    if (error_ == 0 && ::fsync(fd_.get()) != 0) error_ = errno;
    if (error_ == 0 && ::rename(name_.c_str(), of_.c_str()) != 0) error_ = errno;
    if (error_ != 0) return problem("cannot rewrite", of_, error_);
    placed_ = true;
    return {};
  }

 private:
  void flush() {
    if (error_ == 0) error_ = write_all(fd_.get(), text_);
    text_.clear();
  }
  const fs::path of_;
  const std::string name_;
  descriptor fd_;
  std::string text_;
  int error_ = 0;
  bool placed_ = false, empty_ = true;
};

result<void> append_durably(const fs::path& file, std::string_view lines) {
  if (lines.empty()) return {};
  auto fd = open_locked(file);
  if (!fd.ok()) return fd.why();
  if (int error = write_all(fd->get(), lines); error != 0 || ::fsync(fd->get()) != 0)
    return problem("cannot write to", file, error != 0 ? error : errno);
  sync_folder(file);
  return {};
}

struct survey {
  std::string retried;                 // lines
  std::vector<fs::path> with_changes;  // files, the oldest first
};

result<survey> look_through(const fs::path& letters, const std::function<fate(std::string_view)>& of) {
  survey found;
  for (const auto& file : with_rotated(letters)) {
    bool changes = false;
    const auto read = each_line(file, [&](std::string_view line) {
      const auto what = of(line);
      changes = changes || what != fate::stays;
      if (what == fate::is_retried) found.retried.append(line).push_back('\n');
    });
    if (!read) return read.why();
    if (changes) found.with_changes.push_back(file);
  }
  return found;
}

}  // namespace

fs::path retried_name(const fs::path& letters) {
  return letters.parent_path() / (letters.stem().string() + ".retried" + letters.extension().string());
}

result<void> rewrite_letters(const fs::path& letters, const std::function<fate(std::string_view line)>& of,
                             std::string_view added) {
  auto locked = open_locked(letters);  // of the newest: whoever rotates or appends needs it
  if (!locked.ok()) return locked.why();
  auto found = look_through(letters, of);
  if (!found.ok()) return found.why();
  if (auto r = append_durably(retried_name(letters), found->retried); !r) return r;
  auto files = found->with_changes;
  if (!added.empty() && (files.empty() || files.back() != letters)) files.push_back(letters);
  // The newest is the last: from then on others write to the new one.
  for (const auto& file : files) {
    replacement fresh(file);
    const auto read = each_line(file, [&](std::string_view line) {
      if (of(line) != fate::stays) return;
      fresh.add(line);
      fresh.add("\n");
    });
    if (!read) return read.why();
    if (file == letters) fresh.add(added);
    if (fresh.empty() && file != letters) {  // nothing is left of a rotated file
      if (::unlink(file.c_str()) != 0) return problem("cannot remove", file, errno);
    } else if (auto r = fresh.put(); !r) {
      return r;
    }
  }
  sync_folder(letters);
  return {};
}

}  // namespace pl::host
