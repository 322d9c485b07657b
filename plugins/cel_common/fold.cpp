// SPDX-License-Identifier: Apache-2.0
#include "cel_common/fold.hpp"

#include "cel_common/containers.hpp"
#include "cel_common/interpreter.hpp"

namespace pl::cel {

namespace {

// Copy a value to the evaluation's memory. Sets e.exceeded() if it does not fit.
value deep_copy(evaluation& e, const value& v, std::uint32_t depth) {
  if (depth > limits::value_depth) e.exceed("a value is nested more than 100 levels deep");
  if (e.exceeded()) return null_value();
  switch (v.kind) {
    case value_kind::string:
    case value_kind::bytes:
      return e.copy(v.kind, v.view());
    case value_kind::list: {
      auto* items = e.allocate<value>(v.size);
      for (std::uint32_t i = 0; items != nullptr && i < v.size; ++i) items[i] = deep_copy(e, v.items[i], depth + 1);
      return list_value({items, v.size});
    }
    case value_kind::map: {
      auto* made = e.allocate<entry>(v.size);
      if (made == nullptr) return null_value();
      for (std::uint32_t i = 0; i < v.size; ++i) {
        const auto& x = v.map->entries[i];
        made[i] = {deep_copy(e, x.key, depth + 1), deep_copy(e, x.mapped, depth + 1)};
      }
      return make_map(e, {made, v.size});
    }
    default:
      return v;
  }
}

}  // namespace

void fold(node& n, plan& p) {
  if (n.what == op::constant || n.what == op::failure || n.uses_row || n.uses_local) return;
  if (p.folding_steps > limits::steps) return;
  arena scratch;
  evaluation trial(scratch);
  const auto v = interpreter(trial, nullptr, p.locals).run(n);
  p.folding_steps += limits::steps - trial.steps_left();
  if (v.is_error()) return;
  evaluation kept(p.memory);
  kept.refill();
  const auto constant = deep_copy(kept, v, 0);
  if (kept.exceeded()) return;
  n.what = op::constant;
  n.constant = constant;
  n.args.clear();
}

}  // namespace pl::cel
