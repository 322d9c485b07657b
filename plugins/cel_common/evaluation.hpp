// SPDX-License-Identifier: Apache-2.0
// What functions and operators need while an expression is evaluated: memory, a budget, and errors.
#pragma once

#include "cel_common/arena.hpp"
#include "cel_common/limits.hpp"
#include "cel_common/value.hpp"

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace pl::cel {

class pattern_cache;
class zone_cache;

// One evaluation after the other; values are valid until the next `restart`. The memory and the caches must outlive it.
//
// Every function that visits elements or makes values spends steps and memory. When a budget is exhausted, `exceeded`
// stays true, `spend` returns false and `allocate` returns null; the operation then returns `limit_error()`.
class evaluation {
 public:
  explicit evaluation(arena& memory) noexcept : memory_(memory) {}

  // Begin the next evaluation: free the memory and refill the budget.
  void restart() noexcept {
    memory_.reset();
    refill();
  }
  void refill() noexcept {
    steps_ = limits::steps;
    memory_limit_ = memory_.used() + limits::memory_bytes;
    exceeded_ = {};
  }

  bool spend(std::int64_t steps) noexcept {
    steps_ -= steps;
    if (steps_ < 0) exceed("the evaluation takes more than 1000000 steps");
    return exceeded_.empty();
  }
  [[nodiscard]] std::int64_t steps_left() const noexcept { return steps_; }
  // Spend what it costs to read a text once or several times.
  bool spend_bytes(std::size_t bytes) noexcept { return spend(static_cast<std::int64_t>(bytes / 32)); }
  void exceed(std::string_view why) noexcept {
    if (exceeded_.empty()) exceeded_ = why;
  }
  [[nodiscard]] bool exceeded() const noexcept { return !exceeded_.empty(); }
  [[nodiscard]] value limit_error() { return fail({exceeded_}); }

  // Return uninitialised memory, or null if the budget does not allow it.
  template <class T>
  [[nodiscard]] T* allocate(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    const auto bytes = count * sizeof(T);
    if (exceeded() || bytes > limits::memory_bytes || memory_.used() + bytes > memory_limit_) {
      exceed("the evaluation needs more than 8 MiB of memory");
      return nullptr;
    }
    return static_cast<T*>(memory_.allocate(bytes, alignof(T)));
  }
  // Copy a text into the evaluation's memory.
  [[nodiscard]] value copy(value_kind kind, std::string_view text);
  [[nodiscard]] value copy_string(std::string_view text) { return copy(value_kind::string, text); }

  // Return an error at the current place. The parts of the text are copied, and cut if they are long.
  [[nodiscard]] value fail(std::initializer_list<std::string_view> parts);
  // No function or operator of this name takes these operands.
  [[nodiscard]] value no_overload(std::string_view name, std::span<const value> operands);

  // An empty buffer to build texts in. It is not reentrant: use it up before the next call.
  [[nodiscard]] std::string& scratch() noexcept {
    scratch_.clear();
    return scratch_;
  }

  std::uint32_t offset = 0;  // place of the node that is evaluated, for errors
  pattern_cache* patterns = nullptr;
  zone_cache* zones = nullptr;

 private:
  arena& memory_;
  std::int64_t steps_ = limits::steps;
  std::size_t memory_limit_ = limits::memory_bytes;
  std::string_view exceeded_;  // empty: within the budget
  std::string scratch_;
};

}  // namespace pl::cel
