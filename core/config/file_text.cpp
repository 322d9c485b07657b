// SPDX-License-Identifier: Apache-2.0
#include "config/file_text.hpp"

#include <pipeline/posix.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace pl::config {

namespace {

using clock = std::chrono::steady_clock;

// Return why a file of this type cannot be read; empty if it can.
std::string type_problem(mode_t mode) {
  if (S_ISREG(mode) || S_ISFIFO(mode) || S_ISCHR(mode)) return {};
  if (S_ISDIR(mode)) return "is a directory";
  return S_ISSOCK(mode) ? "is a socket" : "is a device";
}

enum class input { ready, ended, late };

// Wait for input. `ended`: the last writer has closed the pipe.
input wait_for_input(int fd, clock::time_point until) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count();
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return input::late;
    return (waiting.revents & POLLIN) != 0 ? input::ready : input::ended;
  }
}

}  // namespace

std::optional<std::string> read_file_text(const std::string& path, std::size_t max_bytes, std::string& why,
                                          std::chrono::milliseconds patience) {
  // Without O_NONBLOCK, opening a FIFO waits for a writer, for ever.
  const descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  struct stat found {};
  if (!file || ::fstat(file.get(), &found) != 0) {
    why = std::generic_category().message(errno);
    return std::nullopt;
  }
  if (why = type_problem(found.st_mode); !why.empty()) return std::nullopt;
  const auto until = clock::now() + patience;
  std::string text;
  std::array<char, 65536> block;
  auto last = input::ready;
  while (text.size() < max_bytes) {
    const auto n = ::read(file.get(), block.data(), std::min(block.size(), max_bytes - text.size()));
    if (n > 0) {
      text.append(block.data(), static_cast<std::size_t>(n));
      continue;
    }
    // A FIFO without a writer reads as empty: the writer may still come.
    if (n == 0 && (!S_ISFIFO(found.st_mode) || !text.empty() || last == input::ended)) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) {
      why = std::generic_category().message(errno);
      return std::nullopt;
    }
    last = wait_for_input(file.get(), until);
    if (last != input::late) continue;
    why = text.empty() ? "nothing was written to this FIFO in time" : "the end of this FIFO was not written in time";
    return std::nullopt;
  }
  why.clear();
  return text;
}

}  // namespace pl::config
