// SPDX-License-Identifier: Apache-2.0
// The files of queues on disk, for tests.
#pragma once

#include <pipeline/posix.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pl::engine::test {

inline std::vector<std::string> queue_files(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  if (std::filesystem::exists(folder))
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".queue") files.push_back(entry.path().string());
  std::ranges::sort(files);
  return files;
}

inline void write_byte(const std::string& file, std::uint64_t at, char byte) {
  const descriptor fd(::open(file.c_str(), O_WRONLY));
  REQUIRE(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(at)) == 1);
}

// Damage the file: change a bit of the byte at this place.
inline void flip_bit(const std::string& file, std::uint64_t at, unsigned bit = 0) {
  const descriptor fd(::open(file.c_str(), O_RDONLY));
  char byte = 0;
  REQUIRE(::pread(fd.get(), &byte, 1, static_cast<off_t>(at)) == 1);
  write_byte(file, at, static_cast<char>(byte ^ (1 << bit)));
}

}  // namespace pl::engine::test
