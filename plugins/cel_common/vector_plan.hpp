// SPDX-License-Identifier: Apache-2.0
// A plan for numeric and boolean work on many rows at once: a sequence of instructions on registers. Its results are those
// of the interpreter, which computes the parts that have no instruction (strings, lists, macros), row by row.
#pragma once

#include "cel_common/lanes.hpp"
#include "cel_common/plan.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace pl::cel {

class vector_machine;

// A condition on another register under which the interpreter must compute a row: the operators && || ?: skip the others.
struct guard {
  enum class when : std::uint8_t { not_false, not_true, is_true, is_false };
  std::uint16_t on;
  when needed;
};

struct instruction {
  void (*run)(vector_machine& m, const instruction& i) = nullptr;
  std::uint16_t to = 0, a = 0, b = 0, c = 0;  // registers
  std::uint32_t slot = 0;                     // the column that is read
  const node* scalar = nullptr;               // what the interpreter computes
  std::vector<guard> guards = {};
};

// The value of a register that never changes.
struct register_constant {
  std::uint16_t to;
  lane_type type;
  value constant;  // null: every lane is null
};

struct vector_plan {
  std::vector<instruction> code;
  std::vector<register_constant> constants;
  std::uint16_t registers = 0;
  std::uint16_t result = 0;
  lane_type type = lane_type::boolean;
};

// Return std::nullopt if instructions would not help: the interpreter computes the whole expression. The plan must outlive
// the result.
[[nodiscard]] std::optional<vector_plan> make_vector_plan(const plan& p);

}  // namespace pl::cel
