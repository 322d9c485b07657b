// SPDX-License-Identifier: Apache-2.0
// A stack for signal handlers on this thread, so that a crash by a stack overflow is reported, too.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <memory>

namespace pl::engine {

// From construction to destruction, both on the same thread.
class signal_stack {
 public:
  signal_stack() : memory_(std::make_unique<bytes>()) {
    stack_t mine{};
    mine.ss_sp = memory_->data();
    mine.ss_size = memory_->size();
    installed_ = ::sigaltstack(&mine, &before_) == 0;
  }
  ~signal_stack() {
    if (installed_) ::sigaltstack(&before_, nullptr);
  }
  signal_stack(const signal_stack&) = delete;
  signal_stack& operator=(const signal_stack&) = delete;

 private:
  using bytes = std::array<std::byte, std::size_t{64} * 1024>;
  std::unique_ptr<bytes> memory_;
  stack_t before_{};
  bool installed_ = false;
};

}  // namespace pl::engine
