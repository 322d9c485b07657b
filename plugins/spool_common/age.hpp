// SPDX-License-Identifier: Apache-2.0
// File ages that do not depend on jumps of the wall clock, such as from 1970 to today on a device without a clock
// battery. Ages are differences of CLOCK_BOOTTIME. A file's modification time is trusted only back to when both clocks
// began to advance in step (stored beside the files). A file can therefore be considered too young, but never too old.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

namespace spool {

using nanoseconds = std::chrono::nanoseconds;

// The clocks of the machine; replaced in tests.
struct clocks {
  std::function<nanoseconds()> running, wall;
  std::function<std::string()> boot;  // changes at each boot
  static clocks system();
};

class file_ages {
 public:
  // `note`: the file that stores since when the clocks have advanced in step.
  file_ages(std::filesystem::path note, clocks from);

  [[nodiscard]] nanoseconds now() const { return clocks_.running(); }
  // Return whether the machine has started again since the file was written.
  [[nodiscard]] bool rebooted() const noexcept { return rebooted_; }
  // Return the latest possible time of the last write to the file, by the running clock.
  [[nodiscard]] nanoseconds written(const std::filesystem::path& file) const;
  // Check whether the clocks still advance in step. Call periodically.
  void check_step();

 private:
  [[nodiscard]] nanoseconds step() const { return clocks_.wall() - clocks_.running(); }
  void note() const;

  std::filesystem::path note_;
  clocks clocks_;
  std::string boot_;
  bool rebooted_ = false;
  nanoseconds step_{}, since_{};  // the difference of the clocks, and since when it is valid
};

}  // namespace spool
