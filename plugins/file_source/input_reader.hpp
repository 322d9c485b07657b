// SPDX-License-Identifier: Apache-2.0
// Reads lines from a descriptor that cannot be read again, such as standard input.
#pragma once

#include <pipeline/result.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lines {

class input_reader {
 public:
  // max_line: longer lines are truncated.
  input_reader(int fd, std::size_t max_line) : fd_(fd), max_line_(max_line) {}

  struct input_line {
    std::string text;      // without its line end
    std::uint64_t offset;  // of the first byte
  };
  // Wait for the first line, at most for the timeout. Empty lines are left out. A last line without a line end counts.
  pl::result<std::vector<input_line>> read(std::uint32_t max_rows, std::chrono::nanoseconds timeout);

  // Return whether everything was read and returned.
  [[nodiscard]] bool at_end() const noexcept { return ended_ && buffer_.empty(); }
  // Return the offset after the last line that was returned.
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  // Return how many lines were truncated since the last call.
  std::uint64_t take_cut() noexcept;

 private:
  pl::result<void> fill(std::chrono::nanoseconds timeout);
  void split(std::vector<input_line>& to, std::uint32_t max_rows);

  const int fd_;
  const std::size_t max_line_;
  std::string buffer_;         // read and not returned
  std::uint64_t dropped_ = 0;  // bytes of the first line in the buffer that were dropped, because it is too long
  std::uint64_t next_ = 0, cut_ = 0;
  bool ended_ = false;
};

}  // namespace lines
