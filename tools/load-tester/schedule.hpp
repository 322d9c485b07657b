// SPDX-License-Identifier: Apache-2.0
// When messages are due.
#pragma once

#include <cstdint>
#include <optional>

namespace pl::load {

struct schedule_options {
  double rate = 0;                  // messages a second; 0: each is due at once
  std::int64_t ramp_ns = 0;         // the rate grows from 0 within this time
  std::uint64_t burst = 0;          // so many more at once ...
  std::int64_t burst_every_ns = 0;  // ... each time this has passed
  std::int64_t duration_ns = 0;     // nothing is due at or after this; 0: no limit
  std::uint64_t count = 0;          // so many turns in all; 0: no limit
};

// Times are counted from the beginning and depend on nothing that happens: a sender that is late stays due.
class schedule {
 public:
  explicit schedule(const schedule_options& options) noexcept : options_(options) {}

  // When the next turn is; nothing once the schedule has ended. Without a rate it is always 0, so the caller has to compare
  // its own clock with the duration.
  [[nodiscard]] std::optional<std::int64_t> due() const noexcept;
  void take() noexcept;

 private:
  [[nodiscard]] std::int64_t steady_due() const noexcept;
  [[nodiscard]] std::int64_t burst_due() const noexcept;

  schedule_options options_;
  std::uint64_t taken_ = 0, steady_ = 0, bursts_ = 0, in_burst_ = 0;
};

}  // namespace pl::load
