// SPDX-License-Identifier: Apache-2.0
// A library for LD_PRELOAD (or linked before the C library) that makes calls to the file system fail: see
// disk_faults.hpp for the rules, which it reads from the file that the environment variable DISK_FAULTS names, at each
// call. It uses system calls for that, because the functions of the C library may be its own.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace {

constexpr int short_write = -1;  // instead of an errno

std::string read_rules() {
  const char* name = std::getenv("DISK_FAULTS");
  if (name == nullptr) return {};
  const auto fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0));
  if (fd < 0) return {};
  std::array<char, 4096> text{};
  const auto n = ::syscall(SYS_read, fd, text.data(), text.size());
  ::syscall(SYS_close, fd);
  return {text.data(), static_cast<std::size_t>(std::max(n, 0L))};
}

std::string path_of(int fd) {
  std::array<char, 4096> path{};
  const auto n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  return {path.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
}

int number_of(std::string_view error) {
  if (error == "short") return short_write;
  if (error == "EIO") return EIO;
  if (error == "ENOSPC") return ENOSPC;
  if (error == "EACCES") return EACCES;
  return EINVAL;
}

std::string_view word(std::string_view& line) {
  const auto end = std::min(line.find(' '), line.size());
  const auto found = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return found;
}

// Append the call to the file that the environment variable DISK_TRACE names.
void trace(std::string_view call, const std::string& path) {
  const char* name = std::getenv("DISK_TRACE");
  if (name == nullptr) return;
  const auto fd =
      static_cast<int>(::syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const auto line = std::string(call) + ' ' + path + '\n';
  ::syscall(SYS_write, fd, line.data(), line.size());
  ::syscall(SYS_close, fd);
}

// Return the errno (or short_write) with which this call fails; nullopt: it does not.
std::optional<int> fault(std::string_view call, const std::string& path) {
  static std::mutex mutex;
  static std::string rules;
  static std::map<std::string, long, std::less<>> used;  // by rule
  trace(call, path);
  const std::scoped_lock lock(mutex);
  if (auto now = read_rules(); now != rules) {
    rules = std::move(now);
    used.clear();
  }
  for (std::string_view rest = rules; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const auto whole = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    auto line = whole;
    if (word(line) != call) continue;
    const auto error = word(line);
    const auto times = std::atol(std::string(word(line)).c_str());
    if (path.find(line) == std::string::npos) continue;
    auto& n = used[std::string(whole)];
    if (times >= 0 && n >= times) continue;
    ++n;
    return number_of(error);
  }
  return std::nullopt;
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int fd) {
  static const auto real = next<int(int)>("fsync");
  if (const auto error = fault("fsync", path_of(fd))) return fail(*error);
  return real(fd);
}

int fdatasync(int fd) {
  static const auto real = next<int(int)>("fdatasync");
  if (const auto error = fault("fdatasync", path_of(fd))) return fail(*error);
  return real(fd);
}

int ftruncate(int fd, off_t size) noexcept {
  static const auto real = next<int(int, off_t)>("ftruncate");
  if (const auto error = fault("ftruncate", path_of(fd))) return fail(*error);
  return real(fd, size);
}

int open(const char* path, int how, ...) {
  static const auto real = next<int(const char*, int, ...)>("open");
  mode_t mode = 0;
  if ((how & O_CREAT) != 0 || (how & O_TMPFILE) == O_TMPFILE) {
    va_list more;
    va_start(more, how);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  if (const auto error = fault("open", path)) return fail(*error);
  return real(path, how, mode);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int(const char*, const char*)>("rename");
  if (const auto error = fault("rename", to)) return fail(*error);
  return real(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned how) noexcept {
  static const auto real = next<int(int, const char*, int, const char*, unsigned)>("renameat2");
  if (const auto error = fault("rename", to)) return fail(*error);
  return real(from_folder, from, to_folder, to, how);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto real = next<ssize_t(int, const void*, size_t)>("write");
  const auto error = fault("write", path_of(fd));
  if (error && *error == short_write && size > 1) return real(fd, bytes, size / 2);
  if (error && *error != short_write) return fail(*error);
  return real(fd, bytes, size);
}

ssize_t pread(int fd, void* bytes, size_t size, off_t at) {
  static const auto real = next<ssize_t(int, void*, size_t, off_t)>("pread");
  if (const auto error = fault("pread", path_of(fd))) return fail(*error);
  return real(fd, bytes, size, at);
}

// With FORTIFY, the compiler calls these functions of glibc for the same purpose.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __open_2(const char* path, int how) { return open(path, how); }

ssize_t __pread_chk(int fd, void* bytes, size_t size, off_t at, size_t /*size_of_bytes*/) {
  return pread(fd, bytes, size, at);
}
// NOLINTEND(bugprone-reserved-identifier)

ssize_t pwritev(int fd, const iovec* pieces, int count, off_t at) {
  static const auto real = next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  const auto error = fault("pwritev", path_of(fd));
  if (error && *error == short_write && pieces[0].iov_len > 1) {
    const iovec half{pieces[0].iov_base, pieces[0].iov_len / 2};
    return real(fd, &half, 1, at);
  }
  if (error && *error != short_write) return fail(*error);
  return real(fd, pieces, count, at);
}

}  // extern "C"
