// SPDX-License-Identifier: Apache-2.0
#include "loader/plugin_frame.hpp"

#include <atomic>

namespace pl::loader {

namespace {

// Initialised at compile time, and part of the program itself, so that a signal handler may read it on any thread.
constinit thread_local const plugin_frame* innermost_frame = nullptr;

}  // namespace

plugin_frame::plugin_frame(const names& of, const char* function) noexcept
    : of_(of), function_(function), outer_(innermost_frame) {
  std::atomic_signal_fence(std::memory_order_release);  // the handler sees a complete frame
  innermost_frame = this;
}

plugin_frame::~plugin_frame() { innermost_frame = outer_; }

const plugin_frame* plugin_frame::innermost() noexcept { return innermost_frame; }

}  // namespace pl::loader
