// SPDX-License-Identifier: Apache-2.0
#include <file_common/file_lock.hpp>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

namespace pl::files {

lock_outcome file_lock::acquire(std::chrono::nanoseconds timeout) {
  using clock = std::chrono::steady_clock;
  const auto until = clock::now() + timeout;
  for (auto wait = std::chrono::microseconds(100);; wait = std::min(wait * 2, std::chrono::microseconds(10'000))) {
    held_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
    if (held_) return lock_outcome::locked;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return lock_outcome::unsupported;
    if (clock::now() >= until) return lock_outcome::busy;
    std::this_thread::sleep_for(wait);
  }
}

void file_lock::release() noexcept {
  if (std::exchange(held_, false)) ::flock(fd_, LOCK_UN);
}

int look_at(const std::filesystem::path& path, int fd, struct stat& now, bool& still_named) {
  struct stat named {};
  still_named = false;
  if (::fstat(fd, &now) != 0) return errno;
  if (::stat(path.c_str(), &named) != 0) return errno == ENOENT ? 0 : errno;
  still_named = named.st_dev == now.st_dev && named.st_ino == now.st_ino;
  return 0;
}

}  // namespace pl::files
