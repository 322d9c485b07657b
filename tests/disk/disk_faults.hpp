// SPDX-License-Identifier: Apache-2.0
// Sets the rules of the library disk_faults for this process. Not thread-safe, but other threads may use the disk.
#pragma once

#include <pipeline/testing/temp_dir.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace pl::testing {

class disk_faults {
 public:
  disk_faults() { ::setenv("DISK_FAULTS", file().c_str(), 1); }
  ~disk_faults() {
    ::unsetenv("DISK_FAULTS");
    ::unsetenv("DISK_TRACE");
  }
  disk_faults(const disk_faults&) = delete;
  disk_faults& operator=(const disk_faults&) = delete;

  // Rules, one a line: CALL ERROR TIMES PART. CALL is fsync, fdatasync, ftruncate, open, rename, write, pread or
  // pwritev; ERROR is EIO, ENOSPC, EACCES or short (writes: only a part is written); TIMES is how often, -1: always.
  // The calls on a path that contains PART fail. For rename, the path is the new name.
  void set(std::string_view rules) const {
    std::ofstream(file() + ".new") << rules;
    std::filesystem::rename(file() + ".new", file());  // this call reads the old rules
  }
  void clear() const { set(""); }

  // Record calls from now on, and return those recorded so far: each is its name, a space, and its path.
  void record() const { ::setenv("DISK_TRACE", (folder_ / "trace").c_str(), 1); }
  [[nodiscard]] std::vector<std::string> recorded() const {
    std::vector<std::string> calls;
    std::ifstream in(folder_ / "trace");
    for (std::string line; std::getline(in, line);) calls.push_back(line);
    return calls;
  }

 private:
  [[nodiscard]] std::string file() const { return folder_ / "rules"; }
  temp_dir folder_;
};

}  // namespace pl::testing
