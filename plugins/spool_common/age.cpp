// SPDX-License-Identifier: Apache-2.0
#include "age.hpp"

#include <pipeline/posix.hpp>

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

namespace spool {

namespace {

constexpr auto drift = std::chrono::seconds(2);  // gradual corrections of the clock are not jumps

nanoseconds read_clock(clockid_t which) {
  timespec t{};
  ::clock_gettime(which, &t);
  return std::chrono::seconds(t.tv_sec) + nanoseconds(t.tv_nsec);
}

}  // namespace

clocks clocks::system() {
  return {[] { return read_clock(CLOCK_BOOTTIME); }, [] { return read_clock(CLOCK_REALTIME); },
          [] {
            std::ifstream in("/proc/sys/kernel/random/boot_id");
            std::string id;
            in >> id;
            return id;
          }};
}

file_ages::file_ages(std::filesystem::path note, clocks from) : note_(std::move(note)), clocks_(std::move(from)) {
  boot_ = clocks_.boot();
  step_ = step();
  since_ = now();
  std::ifstream in(note_);
  std::string boot;
  nanoseconds::rep step = 0, since = 0;
  const bool read = bool(in >> boot >> step >> since);
  rebooted_ = read && !boot.empty() && !boot_.empty() && boot != boot_;
  if (read && boot == boot_ && !boot.empty() && std::chrono::abs(step_ - nanoseconds(step)) <= drift)
    since_ = std::min(since_, nanoseconds(since));
  this->note();
}

void file_ages::check_step() {
  const auto current = step();
  if (std::chrono::abs(current - step_) > drift) {
    since_ = now();
  } else if (std::chrono::abs(current - step_) < drift / 2) {
    return;  // the stored difference is accurate enough
  }
  step_ = current;
  note();
}

void file_ages::note() const {
  const auto text = boot_ + ' ' + std::to_string(step_.count()) + ' ' + std::to_string(since_.count()) + '\n';
  (void)pl::replace_file(note_, text);
}

nanoseconds file_ages::written(const std::filesystem::path& file) const {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0) return now();
  const auto changed = std::chrono::seconds(found.st_mtim.tv_sec) + nanoseconds(found.st_mtim.tv_nsec);
  return std::clamp(changed - step_, since_, now());
}

}  // namespace spool
