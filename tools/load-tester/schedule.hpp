// SPDX-License-Identifier: Apache-2.0
// Computes when messages are due.
#pragma once

#include <cstdint>
#include <optional>

namespace pl::load {

struct schedule_options {
  double rate = 0;                  // messages per second; 0: each is due immediately
  std::int64_t ramp_ns = 0;         // time in which the rate grows from 0
  std::uint64_t burst = 0;          // additional messages that are due at once, ...
  std::int64_t burst_every_ns = 0;  // ... at this interval
  std::int64_t duration_ns = 0;     // nothing is due at or after this time; 0: no limit
  std::uint64_t count = 0;          // total number of turns; 0: no limit
};

// Times count from the beginning of the run. They do not depend on the sender: a late message stays due.
class schedule {
 public:
  explicit schedule(const schedule_options& options) noexcept : options_(options) {}

  // Return the time of the next turn; std::nullopt once the schedule has ended. Without a rate the time is always 0, so
  // the caller must compare its own clock with the duration.
  [[nodiscard]] std::optional<std::int64_t> due() const noexcept;
  void take() noexcept;

 private:
  [[nodiscard]] std::int64_t steady_due() const noexcept;
  [[nodiscard]] std::int64_t burst_due() const noexcept;

  schedule_options options_;
  std::uint64_t taken_ = 0, steady_ = 0, bursts_ = 0, in_burst_ = 0;
};

}  // namespace pl::load
