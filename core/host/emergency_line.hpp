// SPDX-License-Identifier: Apache-2.0
// Log lines of a process that is about to end, from a signal handler or while the logger may be blocked. Only
// async-signal-safe functions are called, and no memory is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pl::host {

// Text that is put together in a buffer of fixed size. What does not fit is cut.
class fixed_text {
 public:
  fixed_text& operator<<(std::string_view text) noexcept;
  fixed_text& operator<<(const char* text) noexcept { return *this << std::string_view(text); }
  fixed_text& operator<<(std::int64_t number) noexcept;
  fixed_text& hex(std::uint64_t number) noexcept;
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), used_}; }
  void clear() noexcept { used_ = 0; }

 private:
  std::array<char, 12 * 1024> bytes_;
  std::size_t used_ = 0;
};

// The format of the lines: that of the log.
void set_emergency_format(bool json) noexcept;

// Write an error to stderr. pipeline, node: empty if there is none. Wait at most 100 ms for a full pipe.
void emergency_line(std::string_view pipeline, std::string_view node, std::string_view message) noexcept;

}  // namespace pl::host
