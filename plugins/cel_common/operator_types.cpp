// SPDX-License-Identifier: Apache-2.0
#include "cel_common/operator_types.hpp"

#include <array>
#include <utility>

namespace pl::cel {

namespace {

using enum type_kind;

type of(type_kind kind) { return {kind}; }

bool either(type_kind kind, const type& a, const type& b) noexcept { return a.is(kind) || b.is(kind); }

// Return the type if at least one operand is known only at run time.
std::optional<type> dynamic_arithmetic(binary_op o, const type& a, const type& b) {
  const auto& other = a.is(dyn) ? b : a;
  const bool plus = o == binary_op::add;
  if (o == binary_op::modulo) return other.is(dyn) || other.is(integer) ? std::optional(of(integer)) : std::nullopt;
  switch (other.kind) {
    case real:  // an int beside a double becomes a double
      return of(real);
    case string:
    case bytes:
      return plus ? std::optional(of(other.kind)) : std::nullopt;
    case list:
      return plus ? std::optional(list_of({})) : std::nullopt;
    case timestamp:
    case duration:
      return plus || o == binary_op::subtract ? std::optional(type{}) : std::nullopt;
    case dyn:
    case integer:
      return type{};
    default:
      return std::nullopt;
  }
}

std::optional<type> time_arithmetic(binary_op o, const type& a, const type& b) {
  const bool plus = o == binary_op::add, minus = o == binary_op::subtract;
  if (!plus && !minus) return std::nullopt;
  if (a.is(duration) && b.is(duration)) return of(duration);
  if (a.is(timestamp) && b.is(duration)) return of(timestamp);
  if (a.is(duration) && b.is(timestamp) && plus) return of(timestamp);
  if (a.is(timestamp) && b.is(timestamp) && minus) return of(duration);
  return std::nullopt;
}

std::optional<type> arithmetic(binary_op o, const type& a, const type& b) {
  if (either(dyn, a, b)) return dynamic_arithmetic(o, a, b);
  if (a.is_number() && b.is_number()) {
    if (!either(real, a, b)) return of(integer);
    return o == binary_op::modulo ? std::nullopt : std::optional(of(real));
  }
  if (o == binary_op::add && a.kind == b.kind) {
    if (a.is(string) || a.is(bytes)) return of(a.kind);
    if (a.is(list)) return list_of(a.element().is(dyn) ? type{} : common_type(a.element(), b.element()));
  }
  return time_arithmetic(o, a, b);
}

std::optional<type> index_type(const type& a, const type& b) {
  if (a.is(dyn)) return type{};
  if (a.is(list) && (b.is(integer) || b.is(dyn))) return a.element();
  const bool key = b.is(dyn) || b.is_number() || b.is(string) || b.is(boolean);
  if (!a.is(map) || !key || !may_equal(a.args[0], b)) return std::nullopt;
  return a.args[1];
}

bool may_contain(const type& container, const type& item) {
  if (container.is(dyn)) return true;
  return (container.is(list) || container.is(map)) && may_equal(container.args[0], item);
}

}  // namespace

std::optional<binary_op> operator_of(std::string_view name) noexcept {
  using enum binary_op;
  static constexpr std::array<std::pair<std::string_view, binary_op>, 13> names{{{"+", add},
                                                                                 {"-", subtract},
                                                                                 {"*", multiply},
                                                                                 {"/", divide},
                                                                                 {"%", modulo},
                                                                                 {"==", equals},
                                                                                 {"!=", not_equals},
                                                                                 {"<", less},
                                                                                 {"<=", less_equal},
                                                                                 {">", greater},
                                                                                 {">=", greater_equal},
                                                                                 {"in", in},
                                                                                 {"[]", index}}};
  for (const auto& [text, o] : names)
    if (text == name) return o;
  return std::nullopt;
}

std::optional<type> result_type(binary_op o, const type& a, const type& b) {
  const auto boolean_if = [](bool valid) { return valid ? std::optional(of(boolean)) : std::nullopt; };
  switch (o) {
    case binary_op::equals:
    case binary_op::not_equals:
      return boolean_if(may_equal(a, b));
    case binary_op::less:
    case binary_op::less_equal:
    case binary_op::greater:
    case binary_op::greater_equal:
      return boolean_if(may_order(a, b));
    case binary_op::in:
      return boolean_if(may_contain(b, a));
    case binary_op::index:
      return index_type(a, b);
    default:
      return arithmetic(o, a, b);
  }
}

}  // namespace pl::cel
