// SPDX-License-Identifier: Apache-2.0
// How old files are, whatever happens to the wall clock: a device without a battery for its clock begins in 1970, and jumps to
// today when it finds a time server; what was written a minute ago must not be fifty years old then.
//
// Ages are differences of a clock that only runs (CLOCK_BOOTTIME: asleep too). A file from before this process has the time of
// its last change by the wall clock. That is believed only as far back as the two clocks have kept step since the machine was
// started, which is noted beside the files. So a file may be taken for younger than it is (after a restart of the machine, or a
// jump of its clock), never for older.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

namespace spool {

using nanoseconds = std::chrono::nanoseconds;

// The machine's clocks; other ones for tests.
struct clocks {
  std::function<nanoseconds()> running, wall;
  std::function<std::string()> boot;  // another text after each start of the machine
  static clocks system();
};

class file_ages {
 public:
  // note: the file in which is noted since when the clocks have kept step.
  file_ages(std::filesystem::path note, clocks from);

  [[nodiscard]] nanoseconds now() const { return clocks_.running(); }
  // When the file was written to, by the running clock; the latest that it can be.
  [[nodiscard]] nanoseconds written(const std::filesystem::path& file) const;
  // Looks whether the clocks still keep step. Now and then.
  void look();

 private:
  [[nodiscard]] nanoseconds step() const { return clocks_.wall() - clocks_.running(); }
  void note() const;

  std::filesystem::path note_;
  clocks clocks_;
  std::string boot_;
  nanoseconds step_{}, since_{};  // the difference of the clocks, and since when it is that
};

}  // namespace spool
