// SPDX-License-Identifier: Apache-2.0
// The rows that a sink refused in one write, and whether all of them have one reason. One thread.
#pragma once

#include "engine/call_effects.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class refusals {
 public:
  void add(const std::vector<rejection>& rejected);
  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  // Reasons that differ only in numbers and in quoted text (the values of the rows) are one reason.
  [[nodiscard]] bool one_reason() const noexcept { return one_reason_; }
  [[nodiscard]] const std::string& first_reason() const noexcept { return first_; }

 private:
  std::uint64_t rows_ = 0;
  bool one_reason_ = true;
  std::string first_, general_;
};

// Return a reason without its numbers and quoted text.
[[nodiscard]] std::string general_reason(std::string_view reason);

}  // namespace pl::engine
