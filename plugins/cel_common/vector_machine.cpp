// SPDX-License-Identifier: Apache-2.0
#include "cel_common/vector_machine.hpp"

#include <algorithm>

namespace pl::cel {

namespace {

void fill_constant(lanes& to, const register_constant& c) {
  switch (c.constant.kind) {
    case value_kind::boolean:
      to.boolean.fill(c.constant.is_true() ? 1 : 0);
      break;
    case value_kind::integer:
      if (c.type == lane_type::real)
        to.real.fill(static_cast<double>(c.constant.integer));
      else
        to.integer.fill(c.constant.integer);
      break;
    case value_kind::real:
      to.real.fill(c.constant.real);
      break;
    default:
      to.clean = false;
      to.state.fill(lane_null);
  }
}

}  // namespace

vector_machine::vector_machine(const vector_plan& p, const bound_rows& rows, evaluation& e, interpreter& scalar)
    : plan_(p), rows_(rows), e_(e), scalar_(scalar), registers_(p.registers) {
  for (const auto& c : p.constants) fill_constant(registers_[c.to], c);
}

bool vector_machine::needed(const instruction& i, std::uint32_t lane) const noexcept {
  return std::all_of(i.guards.begin(), i.guards.end(), [&](const guard& g) {
    const auto& on = registers_[g.on];
    switch (g.needed) {
      case guard::when::not_false:
        return !on.is_false(lane);
      case guard::when::not_true:
        return !on.is_true(lane);
      case guard::when::is_true:
        return on.is_true(lane);
      case guard::when::is_false:
        return on.is_false(lane);
    }
    return true;
  });
}

void vector_machine::interpret(const instruction& i, std::uint32_t lane, lane_type type) {
  auto& to = registers_[i.to];
  e_.restart();
  const auto v = scalar_.run(*i.scalar, chunk_[lane]);
  if (type == lane_type::boolean && v.is(value_kind::boolean))
    to.boolean[lane] = v.is_true() ? 1 : 0;
  else if (type == lane_type::integer && v.is(value_kind::integer))
    to.integer[lane] = v.integer;
  else if (type == lane_type::real && v.is(value_kind::real))
    to.real[lane] = v.real;
  else
    to.set_state(lane, v.is(value_kind::null) ? lane_null : lane_failed);
}

}  // namespace pl::cel
