// SPDX-License-Identifier: Apache-2.0
// An anchor_store remembers, over restarts, which files a path has named and where their positions begin. It is small,
// and is written after a rotation, every few seconds while a file is read, and at the end. Not thread-safe.
#pragma once

#include "file_print.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace lines {

// A file that a path has named. A position is base + offset in the file.
struct known_file {
  std::uint64_t base = 0;
  std::uint64_t inode = 0;  // 0: unknown
  file_print print;         // of the part that was read
};
using known_files = std::vector<known_file>;  // oldest first

class anchor_store {
 public:
  explicit anchor_store(std::filesystem::path file) : file_(std::move(file)) {}

  void load();
  [[nodiscard]] known_files of(const std::string& path) const;
  void set(const std::string& path, known_files files) { known_[path] = std::move(files); }
  pl::result<void> save() const;

 private:
  const std::filesystem::path file_;
  std::map<std::string, known_files> known_;
};

}  // namespace lines
