// SPDX-License-Identifier: Apache-2.0
#include "cel_common/interpreter.hpp"

#include "cel_common/containers.hpp"
#include "cel_common/operator_types.hpp"
#include "cel_common/operators.hpp"

#include <array>
#include <string_view>
#include <utility>

namespace pl::cel {

binary_operator function_of(binary_op o) noexcept {
  static constexpr std::array<binary_operator, 13> functions{add,           subtract,     multiply, divide,     modulo,
                                                             equals,        not_equals,   less,     less_equal, greater,
                                                             greater_equal, contained_in, index};
  return functions[static_cast<std::size_t>(o)];
}

value interpreter::evaluate(const node& n) {
  if (!e_.spend(1)) return e_.limit_error();
  e_.offset = n.offset;
  switch (n.what) {
    case op::constant:
      return n.constant;
    case op::failure:
      return e_.fail({n.text});
    case op::column:
      return rows_->read(e_, n.slot, row_);
    case op::column_present: {
      const auto* cells = rows_->column(n.slot).cells;
      return bool_value(cells != nullptr && !is_null(cells[row_]));
    }
    case op::row:
      return rows_->whole_row(e_, row_);
    case op::local:
      return locals_[n.slot];
    case op::list:
      return make_list(n);
    case op::map:
      return make_entries(n);
    case op::call:
      return call(n);
    case op::binary:
      return binary(n);
    case op::chain:
      return chain(n);
    case op::logical_not:
      return logical_not(n);
    case op::logical_and:
      return logical(n, false);
    case op::logical_or:
      return logical(n, true);
    case op::conditional:
      return conditional(n);
    case op::match_pattern:
      return match_pattern(n);
    case op::all:
    case op::exists:
    case op::exists_one:
    case op::filter:
    case op::transform:
      return macro(n);
    default:
      break;
  }
  const auto operand = evaluate(*n.args[0]);
  e_.offset = n.offset;
  if (n.what == op::negate) return negate(e_, operand);
  if (n.what == op::member) return member(e_, operand, n.text);
  if (n.what == op::presence) return presence(e_, operand, n.text);
  return operand.is(value_kind::integer) ? double_value(static_cast<double>(operand.integer)) : operand;  // to_double
}

value interpreter::make_list(const node& n) {
  auto* items = e_.allocate<value>(n.args.size());
  if (items == nullptr) return e_.limit_error();
  for (std::size_t i = 0; i < n.args.size(); ++i) {
    items[i] = evaluate(*n.args[i]);
    if (items[i].is_error()) return items[i];
  }
  return list_value({items, n.args.size()});
}

value interpreter::make_entries(const node& n) {
  const auto count = n.args.size() / 2;
  auto* made = e_.allocate<entry>(count);
  if (made == nullptr) return e_.limit_error();
  for (std::size_t i = 0; i < count; ++i) {
    made[i] = {evaluate(*n.args[2 * i]), evaluate(*n.args[2 * i + 1])};
    if (made[i].key.is_error()) return made[i].key;
    if (made[i].mapped.is_error()) return made[i].mapped;
  }
  e_.offset = n.offset;
  return make_map(e_, {made, count});
}

value interpreter::call(const node& n) {
  std::array<value, 4> args;
  for (std::size_t i = 0; i < n.args.size(); ++i) {
    args[i] = evaluate(*n.args[i]);
    if (args[i].is_error()) return args[i];
  }
  e_.offset = n.offset;
  return dispatch(e_, n.overloads, n.text, {args.data(), n.args.size()});
}

value interpreter::binary(const node& n) {
  return operation(n, n.which, evaluate(*n.args[0]), n.args[0].get(), *n.args[1]);
}

value interpreter::chain(const node& n) {
  auto result = evaluate(*n.args[0]);
  for (std::size_t i = 0; i < n.text.size(); ++i) {
    if (i > 0 && !e_.spend(1)) return e_.limit_error();
    result = operation(n, *operator_of(std::string_view(n.text).substr(i, 1)), result,
                       i == 0 ? n.args[0].get() : nullptr, *n.args[i + 1]);
    if (result.is_error()) return result;
  }
  return result;
}

// left: the node of the value `a`; null if it is the result of other operations of a chain.
value interpreter::operation(const node& n, binary_op which, const value& a, const node* left, const node& right) {
  if (a.is_error()) return a;
  const auto b = evaluate(right);
  if (b.is_error()) return b;
  e_.offset = n.offset;
  const auto result = function_of(which)(e_, a, b);
  if (!result.is_error()) return result;
  // Most errors come from columns that a row does not have.
  for (const auto& [v, operand] : {std::pair{&a, left}, std::pair{&b, &right}})
    if (v->is(value_kind::null) && operand != nullptr && operand->what == op::column)
      return e_.fail({result.error->text, "; the column '", operand->text, "' is null"});
  return result;
}

value interpreter::not_bool(const node& n, const value& v) {
  if (v.is_error()) return v;
  e_.offset = n.offset;
  return e_.fail({"no such overload: a value of type ", kind_name(v.kind), " is not a bool"});
}

// One operand that decides the result absorbs the errors of the others.
value interpreter::logical(const node& n, bool decisive) {
  std::optional<value> error;
  for (const auto& a : n.args) {
    const auto v = evaluate(*a);
    if (v.is(value_kind::boolean)) {
      if (v.is_true() == decisive) return v;
    } else if (!error) {
      error = not_bool(*a, v);
    }
  }
  return error ? *error : bool_value(!decisive);
}

value interpreter::logical_not(const node& n) {
  const auto v = evaluate(*n.args[0]);
  return v.is(value_kind::boolean) ? bool_value(v.is_false()) : not_bool(*n.args[0], v);
}

value interpreter::conditional(const node& n) {
  const auto condition = evaluate(*n.args[0]);
  if (!condition.is(value_kind::boolean)) return not_bool(*n.args[0], condition);
  return evaluate(*n.args[condition.is_true() ? 1 : 2]);
}

value interpreter::match_pattern(const node& n) {
  const auto text = evaluate(*n.args[0]);
  e_.offset = n.offset;
  if (!text.is(value_kind::string)) return e_.no_overload("matches", {&text, 1});
  return e_.spend_bytes(text.size) ? bool_value(n.compiled->matches(text.view())) : e_.limit_error();
}

value interpreter::macro(const node& n) {
  const auto of = evaluate(*n.args[0]);
  if (of.is_error()) return of;
  e_.offset = n.offset;
  std::span<const value> range;
  if (of.is(value_kind::list)) {
    range = elements(e_, of);
  } else if (of.is(value_kind::map)) {
    const auto all = entries(e_, of);
    auto* keys = e_.allocate<value>(all.size());
    if (keys == nullptr) return e_.limit_error();
    for (std::size_t i = 0; i < all.size(); ++i) keys[i] = all[i].key;
    range = {keys, all.size()};
  } else {
    return e_.fail({"a value of type ", kind_name(of.kind), " is not a list or a map"});
  }
  if (e_.exceeded()) return e_.limit_error();
  if (n.what == op::all) return quantifier(n, range, false);
  if (n.what == op::exists) return quantifier(n, range, true);
  return n.what == op::exists_one ? exists_one(n, range) : collect(n, range);
}

// all(): false decides; exists(): true decides. Both absorb errors like && and ||.
value interpreter::quantifier(const node& n, std::span<const value> range, bool decisive) {
  std::optional<value> error;
  for (const auto& item : range) {
    locals_[n.slot] = item;
    const auto v = evaluate(*n.args[1]);
    if (v.is(value_kind::boolean)) {
      if (v.is_true() == decisive) return v;
    } else if (!error) {
      error = not_bool(*n.args[1], v);
    }
    if (e_.exceeded()) return e_.limit_error();
  }
  return error ? *error : bool_value(!decisive);
}

value interpreter::exists_one(const node& n, std::span<const value> range) {
  std::size_t found = 0;
  for (const auto& item : range) {
    locals_[n.slot] = item;
    const auto v = evaluate(*n.args[1]);
    if (!v.is(value_kind::boolean)) return not_bool(*n.args[1], v);
    found += v.is_true() ? 1 : 0;
  }
  return bool_value(found == 1);
}

// filter() and map(): the results of the elements that the predicate selects.
value interpreter::collect(const node& n, std::span<const value> range) {
  const auto* predicate = n.what == op::filter || n.args.size() == 3 ? n.args[1].get() : nullptr;
  const auto* result = n.what == op::filter ? nullptr : n.args.back().get();
  auto* items = e_.allocate<value>(range.size());
  if (items == nullptr) return e_.limit_error();
  std::size_t count = 0;
  for (const auto& item : range) {
    locals_[n.slot] = item;
    if (predicate != nullptr) {
      const auto v = evaluate(*predicate);
      if (!v.is(value_kind::boolean)) return not_bool(*predicate, v);
      if (v.is_false()) continue;
    }
    items[count] = result == nullptr ? item : evaluate(*result);
    if (items[count++].is_error()) return items[count - 1];
  }
  return list_value({items, count});
}

}  // namespace pl::cel
