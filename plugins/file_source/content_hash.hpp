// SPDX-License-Identifier: Apache-2.0
// A hash of the beginning of a file, which grows with the part that was read. Its values are stored: never change how it
// is computed.
#pragma once

#include <cstdint>

namespace lines {

// Bytes at the beginning of a file that are hashed completely. It bounds what is read of a file at a start.
constexpr std::uint64_t hashed_bytes = 16U << 20U;

class content_hash {
 public:
  // Hash the file's bytes up to `size`, but not more than hashed_bytes. False: they cannot be read.
  bool extend(int fd, std::uint64_t size);
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t value() const noexcept;
  // Return whether the file still begins with these bytes.
  [[nodiscard]] bool matches(int fd) const;

 private:
  std::uint64_t size_ = 0, state_ = 0x9E3779B97F4A7C15U;
  std::uint64_t rest_ = 0;  // the last bytes, up to seven
};

}  // namespace lines
