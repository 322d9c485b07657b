// SPDX-License-Identifier: Apache-2.0
// A file_print identifies the part of a file that was read, so that a file with other content is noticed.
#pragma once

#include "content_hash.hpp"

#include <cstdint>

namespace lines {

constexpr std::uint64_t stored_sample = 64U << 10U;  // of prints that are stored; never change it
constexpr std::uint64_t small_sample = 4U << 10U;    // of prints that are made after each read

struct file_print {
  std::uint64_t size = 0;            // bytes that were read; 0: nothing is known
  std::uint64_t head = 0, tail = 0;  // hashes of the first and of the last bytes of that part, `sample` each
  std::int64_t modified = 0;         // of the file, ns since 1970
  std::uint64_t sample = stored_sample;
  // Of prints that are stored: the hash of the first `hashed` bytes, and when the file's content or place changed last (ns
  // since 1970; 0: not known, because it was changed a moment before).
  std::uint64_t content = 0, hashed = 0;
  std::int64_t changed = 0;
};

// Return the print of the first `size` bytes; size 0 if they cannot be read.
[[nodiscard]] file_print print_of(int fd, std::uint64_t size, std::uint64_t sample = stored_sample);

// Add the hash of the content, and the time of the last change.
void add_content(int fd, const content_hash& content, file_print& to);

// Return whether the file begins with the part that was read. True if nothing is known about it.
[[nodiscard]] bool begins_with(int fd, const file_print& print);

}  // namespace lines
