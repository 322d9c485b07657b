// SPDX-License-Identifier: Apache-2.0
// The wall clock of the host ("clock/1" in abi.h), which is simulated in tests of pipelines. A handle: make it in the
// constructor. If the host does not offer the extension, it is the clock of the machine.
#pragma once

#include <pipeline/abi.h>
#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>

namespace pl {

class wall_clock {
 public:
  explicit wall_clock(const pl_host* host) noexcept
      : host_(host), table_(static_cast<const pl_host_clock*>(host->extension(host->ctx, borrow(PL_EXT_CLOCK)))) {}

  // Any thread.
  [[nodiscard]] std::int64_t now_ns() const noexcept {
    if (table_ != nullptr) return table_->now(host_->ctx);
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
    return now.count();
  }
  [[nodiscard]] timestamp now() const noexcept { return timestamp(std::chrono::nanoseconds(now_ns())); }

 private:
  const pl_host* host_;
  const pl_host_clock* table_;
};

}  // namespace pl
