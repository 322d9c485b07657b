// SPDX-License-Identifier: Apache-2.0
// Executes a vector plan, chunk by chunk.
#pragma once

#include "cel_common/interpreter.hpp"
#include "cel_common/rows.hpp"
#include "cel_common/vector_plan.hpp"

#include <vector>

namespace pl::cel {

// Owns the registers. One thread at a time. The plan, the rows and the interpreter must outlive it.
class vector_machine {
 public:
  vector_machine(const vector_plan& p, const bound_rows& rows, evaluation& e, interpreter& scalar);

  // Compute the expression for the rows of a chunk.
  const lanes& run(const row_chunk& chunk) {
    chunk_ = chunk;
    for (const auto& i : plan_.code) i.run(*this, i);
    return registers_[plan_.result];
  }

  // For instructions.
  [[nodiscard]] lanes& operator[](std::uint16_t r) noexcept { return registers_[r]; }
  [[nodiscard]] const row_chunk& chunk() const noexcept { return chunk_; }
  [[nodiscard]] const bound_column& column(std::uint32_t slot) const noexcept { return rows_.column(slot); }
  [[nodiscard]] bool needed(const instruction& i, std::uint32_t lane) const noexcept;
  // Compute one lane with the interpreter.
  void interpret(const instruction& i, std::uint32_t lane, lane_type type);

 private:
  const vector_plan& plan_;
  const bound_rows& rows_;
  evaluation& e_;
  interpreter& scalar_;
  row_chunk chunk_;
  std::vector<lanes> registers_;
};

}  // namespace pl::cel
