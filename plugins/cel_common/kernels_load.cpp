// SPDX-License-Identifier: Apache-2.0
// Instructions that read cells, and the one that calls the interpreter.
#include "cel_common/compare.hpp"
#include "cel_common/kernels.hpp"
#include "cel_common/ordering_tests.hpp"
#include "cel_common/vector_machine.hpp"

#include <cstring>

namespace pl::cel::kernels {

namespace {

// Call take(lane, cell) for the rows of the chunk from lane `begin` to `end`.
template <class Take>
void each_cell(const row_chunk& chunk, const cell* cells, std::uint32_t begin, std::uint32_t end, Take&& take) {
  if (chunk.indexes == nullptr) {
    const auto* from = cells + chunk.first;
    for (std::uint32_t i = begin; i < end; ++i) take(i, from[i]);
  } else {
    for (std::uint32_t i = begin; i < end; ++i) take(i, cells[chunk.indexes[i]]);
  }
}

void all_null(lanes& to) {
  to.integer.fill(0);
  to.state.fill(lane_null);
  to.clean = false;
}

// Load cells of one kind. Blocks with cells of other kinds are read once more: `other` returns the state of such a cell.
template <class Put, class Other>
void load(vector_machine& m, const instruction& i, std::uint32_t kind, Put&& put, Other&& other) {
  auto& to = m[i.to];
  const auto* cells = m.column(i.slot).cells;
  if (cells == nullptr) return all_null(to);
  to.clean = true;
  for (std::uint32_t begin = 0; begin < m.chunk().count; begin += block) {
    const auto end = std::min(begin + block, m.chunk().count);
    std::uint32_t different = 0;
    each_cell(m.chunk(), cells, begin, end, [&](std::uint32_t lane, const cell& c) {
      put(lane, c);
      different |= c.kind ^ kind;
    });
    if (different == 0) continue;
    each_cell(m.chunk(), cells, begin, end, [&](std::uint32_t lane, const cell& c) {
      if (c.kind == kind) return;
      const auto state = c.kind == PL_NULL ? lane_null : other(lane, c);
      if (state != lane_ok) to.set_state(lane, state);
    });
  }
}

constexpr lane_state never(std::uint32_t, const cell&) noexcept { return lane_failed; }

// Compare a cell with a constant; std::nullopt leaves the cell to the interpreter.
struct with_number {
  static std::optional<std::partial_ordering> order(const cell& c, const value& constant) noexcept {
    const bool real = constant.is(value_kind::real);
    if (c.kind == PL_F64) return real ? c.as.f <=> constant.real : 0 <=> compare_exactly(constant.integer, c.as.f);
    if (c.kind != PL_I64) return std::nullopt;
    if (!real) return c.as.i <=> constant.integer;
    return compare_exactly(c.as.i, constant.real);
  }
};
struct with_string {
  static std::optional<std::partial_ordering> order(const cell& c, const value& constant) noexcept {
    if (c.kind != PL_TEXT) return std::nullopt;
    return bytes_of(c) <=> constant.view();
  }
};

template <class With, class Holds>
void compare_column(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  to.clean = true;
  const auto* cells = m.column(i.slot).cells;
  const auto& constant = i.scalar->args[1]->constant;
  for (std::uint32_t lane = 0; lane < m.chunk().count; ++lane) {
    const auto found = cells == nullptr ? std::nullopt : With::order(cells[m.chunk()[lane]], constant);
    if (found)
      to.boolean[lane] = Holds()(*found) ? 1 : 0;
    else
      m.interpret(i, lane, lane_type::boolean);
  }
}

template <class With>
kernel compare_with(binary_op o) noexcept {
  switch (o) {
    case binary_op::equals:
      return compare_column<With, ordered_equal>;
    case binary_op::not_equals:
      return compare_column<With, ordered_different>;
    case binary_op::less:
      return compare_column<With, ordered_less>;
    case binary_op::less_equal:
      return compare_column<With, ordered_less_equal>;
    case binary_op::greater:
      return compare_column<With, ordered_greater>;
    case binary_op::greater_equal:
      return compare_column<With, ordered_greater_equal>;
    default:
      return nullptr;
  }
}

template <lane_type Type>
void interpret_lanes(vector_machine& m, const instruction& i) {
  m[i.to].clean = true;
  for (std::uint32_t lane = 0; lane < m.chunk().count; ++lane)
    if (m.needed(i, lane)) m.interpret(i, lane, Type);  // the others are not used
}

}  // namespace

void load_real(vector_machine& m, const instruction& i) {
  auto& to = m[i.to].real;
  load(
      m, i, PL_F64, [&](std::uint32_t lane, const cell& c) { to[lane] = c.as.f; },
      [&](std::uint32_t lane, const cell& c) {
        to[lane] = c.kind == PL_I64 ? static_cast<double>(c.as.i) : 0.0;
        return c.kind == PL_I64 ? lane_ok : lane_failed;
      });
}

void load_integer(vector_machine& m, const instruction& i) {
  auto& to = m[i.to].integer;
  load(
      m, i, PL_I64, [&](std::uint32_t lane, const cell& c) { to[lane] = c.as.i; }, never);
}

void load_boolean(vector_machine& m, const instruction& i) {
  auto& to = m[i.to].boolean;
  load(
      m, i, PL_BOOL, [&](std::uint32_t lane, const cell& c) { to[lane] = c.as.i != 0 ? 1 : 0; }, never);
}

void load_presence(vector_machine& m, const instruction& i) {
  auto& to = m[i.to];
  to.clean = true;
  const auto* cells = m.column(i.slot).cells;
  if (cells == nullptr) return to.boolean.fill(0);
  each_cell(m.chunk(), cells, 0, m.chunk().count,
            [&](std::uint32_t lane, const cell& c) { to.boolean[lane] = c.kind == PL_NULL ? 0 : 1; });
}

kernel compare_cells(binary_op o, value_kind with) noexcept {
  return with == value_kind::string ? compare_with<with_string>(o) : compare_with<with_number>(o);
}

kernel interpreted(lane_type type) noexcept {
  switch (type) {
    case lane_type::real:
      return interpret_lanes<lane_type::real>;
    case lane_type::integer:
      return interpret_lanes<lane_type::integer>;
    case lane_type::boolean:
      return interpret_lanes<lane_type::boolean>;
  }
  return nullptr;
}

}  // namespace pl::cel::kernels
