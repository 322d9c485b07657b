// SPDX-License-Identifier: Apache-2.0
#include "content_hash.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <string>

namespace lines {

namespace {

constexpr std::size_t step = 64U << 10U;

std::uint64_t mixed(std::uint64_t state, std::uint64_t word) noexcept {
  return std::rotl((state ^ word) * 0x9FB21C651E98DF25U, 29);
}

}  // namespace

bool content_hash::extend(int fd, std::uint64_t size) {
  size = std::min(size, hashed_bytes);
  if (size < size_) *this = {};
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(step, size - size_)), '\0');
  while (size_ < size) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), size - size_));
    const auto n = ::pread(fd, bytes.data(), want, static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {  // in words of eight bytes, whatever the blocks are
      rest_ |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * (size_ % 8);
      if (++size_ % 8 != 0) continue;
      state_ = mixed(state_, rest_);
      rest_ = 0;
    }
  }
  return true;
}

std::uint64_t content_hash::value() const noexcept { return mixed(mixed(state_, rest_), size_); }

bool content_hash::matches(int fd) const {
  content_hash now;
  return now.extend(fd, size_) && now.value() == value();
}

}  // namespace lines
