// SPDX-License-Identifier: Apache-2.0
#include "file_print.hpp"

#include <pipeline/hash.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>

namespace lines {

namespace {

std::optional<std::uint64_t> hash_of(int fd, std::uint64_t from, std::uint64_t size) {
  std::string bytes(size, '\0');
  for (std::uint64_t have = 0; have < size;) {
    const auto n = ::pread(fd, bytes.data() + have, size - have, static_cast<off_t>(from + have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    have += static_cast<std::uint64_t>(n);
  }
  return pl::fnv1a_64(bytes);
}

constexpr std::chrono::seconds coarse{2};

std::int64_t changed_at(const struct stat& s) noexcept {
  return std::int64_t{s.st_ctim.tv_sec} * 1'000'000'000 + s.st_ctim.tv_nsec;
}

}  // namespace

file_print print_of(int fd, std::uint64_t size, std::uint64_t sample) {
  struct stat s {};
  const auto part = std::min(size, sample);
  const auto head = hash_of(fd, 0, part), tail = hash_of(fd, size - part, part);
  if (size == 0 || !head || !tail || ::fstat(fd, &s) != 0) return {};
  return {size, *head, *tail, std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec, sample, 0, 0, 0};
}

void add_content(int fd, const content_hash& content, file_print& to) {
  struct stat s {};
  if (to.size == 0 || ::fstat(fd, &s) != 0) return;
  to.content = content.value();
  to.hashed = content.size();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto changed = changed_at(s);
  // The file system's clock is coarse: a later change could have the same time.
  if (now - std::chrono::nanoseconds(changed) > coarse) to.changed = changed;
}

bool begins_with(int fd, const file_print& print) {
  if (print.size == 0) return true;
  struct stat s {};
  if (print.changed != 0 && ::fstat(fd, &s) == 0 && changed_at(s) == print.changed) return true;
  const auto now = print_of(fd, print.size, print.sample);
  if (now.size != print.size || now.head != print.head || now.tail != print.tail) return false;
  content_hash content;
  return content.extend(fd, print.hashed) && (print.hashed == 0 || content.value() == print.content);
}

}  // namespace lines
