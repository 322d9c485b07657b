// SPDX-License-Identifier: Apache-2.0
#include "cel_common/checker.hpp"

#include "cel_common/call_checker.hpp"
#include "cel_common/fold.hpp"
#include "cel_common/operator_types.hpp"

#include <pipeline/text.hpp>

#include <algorithm>

namespace pl::cel {

namespace {

// Makes the nodes of one plan. After the first mistake, `why_` is set and the nodes have no meaning.
class checker {
 public:
  checker(const column_names& columns, bool unchecked, plan& to)
      : columns_(columns), unchecked_(unchecked), plan_(to) {}

  std::optional<problem> run(const expr& tree) {
    plan_.root = build(tree);
    if (!why_) fold(*plan_.root, plan_);
    return why_;
  }

 private:
  // ---------------------------------------------------------------------------------------------------- mistakes ---

  // Report a mistake; in an unchecked expression, the node fails at run time instead.
  node_ptr wrong(const expr& at, std::string message) {
    if (!unchecked_ && !why_) why_ = problem{message, at.begin, at.end};
    auto n = make(op::failure, at);
    n->text = std::move(message);
    return n;
  }
  // Report operands of a wrong type, which an unchecked expression finds at run time.
  node_ptr mismatch(const expr& at, std::string message, node_ptr n) {
    return unchecked_ ? std::move(n) : wrong(at, std::move(message));
  }

  // ------------------------------------------------------------------------------------------------------- nodes ---

  node_ptr make(op what, const expr& at) {
    auto n = std::make_unique<node>();
    n->what = what;
    n->offset = at.begin;
    n->end = at.end;
    return n;
  }
  // Complete a node with its operands. Constant operands of a node that is not constant are computed now.
  node_ptr finish(node_ptr n, type of) {
    n->static_type = std::move(of);
    for (const auto& a : n->args) {
      n->uses_row = n->uses_row || a->uses_row;
      n->uses_local = n->uses_local || a->uses_local;
    }
    if (n->uses_row || n->uses_local)
      for (const auto& a : n->args) fold(*a, plan_);
    return n;
  }
  node_ptr constant(const expr& at, value v, type_kind kind) {
    auto n = make(op::constant, at);
    n->constant = v;
    n->static_type = {kind};
    return n;
  }
  node_ptr text_constant(const expr& at, value_kind kind, type_kind of) {
    evaluation e(plan_.memory);
    e.refill();
    return constant(at, e.copy(kind, at.text), of);
  }
  std::vector<node_ptr> build_all(const expr& at, std::size_t from = 0) {
    std::vector<node_ptr> nodes;
    for (std::size_t i = from; i < at.args.size(); ++i) nodes.push_back(build(*at.args[i]));
    return nodes;
  }

  // NOLINTNEXTLINE(readability-function-size): one line for each form
  node_ptr build(const expr& at) {
    switch (at.what) {
      case form::null_literal:
        return constant(at, null_value(), type_kind::null);
      case form::bool_literal:
        return constant(at, bool_value(at.boolean), type_kind::boolean);
      case form::int_literal:
        return constant(at, int_value(at.integer), type_kind::integer);
      case form::double_literal:
        return constant(at, double_value(at.real), type_kind::real);
      case form::string_literal:
        return text_constant(at, value_kind::string, type_kind::string);
      case form::bytes_literal:
        return text_constant(at, value_kind::bytes, type_kind::bytes);
      case form::name:
      case form::select:
        return selection(at);
      case form::presence:
        return presence(at);
      case form::call:
        return call(at);
      case form::chain:
        return chain(at);
      case form::list:
        return list(at);
      case form::map:
        return map(at);
      case form::all:
      case form::exists:
      case form::exists_one:
      case form::filter:
      case form::transform:
        return macro(at);
    }
    return nullptr;
  }

  // ------------------------------------------------------------------------------------------------------- names ---

  node_ptr column(const expr& at, const std::string& name, std::uint32_t kind) {
    auto n = make(op::column, at);
    n->slot = slot_of(name, kind);
    n->text = name;
    n->uses_row = true;
    n->static_type = type_of_cells(kind);
    return n;
  }
  std::uint32_t slot_of(const std::string& name, std::uint32_t kind) {
    auto& used = plan_.columns;
    const auto found = std::find_if(used.begin(), used.end(), [&](const column_use& c) { return c.name == name; });
    if (found != used.end()) return static_cast<std::uint32_t>(found - used.begin());
    used.push_back({name, kind});
    return static_cast<std::uint32_t>(used.size() - 1);
  }
  node_ptr unknown_column(const expr& at, std::string_view name) {
    return wrong(at, "unknown column '" + std::string(name) + "'" + columns_.suggestion(name));
  }
  node_ptr whole_row(const expr& at) {
    auto n = make(op::row, at);
    n->uses_row = true;
    n->static_type = map_of({type_kind::string}, {});
    plan_.uses_whole_row = true;
    return n;
  }

  // A dotted name such as a.b.c, or nothing if the tree is anything else.
  static std::vector<const expr*> dotted(const expr& at) {
    std::vector<const expr*> parts;
    const auto* e = &at;
    for (; e->what == form::select; e = e->args.front().get()) parts.push_back(e);
    if (e->what != form::name) return {};
    parts.push_back(e);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  static std::string joined(const std::vector<const expr*>& parts, std::size_t count) {
    std::string name;
    for (std::size_t i = 0; i < count; ++i) name.append(i == 0 ? "" : ".").append(parts[i]->text);
    return name;
  }
  const local_scopes::variable* local(const expr& name) const {
    return name.absolute ? nullptr : scopes_.find(name.text);
  }
  bool is_row(const expr& at) const { return at.what == form::name && at.text == "row" && local(at) == nullptr; }

  // A name, or members of one. The longest prefix that is a column's name is that column.
  node_ptr selection(const expr& at) {
    const auto parts = dotted(at);
    if (parts.empty()) return member(at, build(*at.args.front()));
    if (at.what == form::select && is_row(*at.args.front())) return row_member(at, at.text);
    if (const auto* variable = local(*parts.front())) {
      if (at.what == form::select) return member(at, build(*at.args.front()));
      auto n = make(op::local, at);
      n->slot = variable->slot;
      n->uses_local = true;
      n->static_type = variable->static_type;
      return n;
    }
    if (is_row(at)) return whole_row(at);
    const auto name = joined(parts, parts.size());
    const bool dynamic = !columns_.known() && parts.size() > 1;
    if (const auto kind = columns_.kind(name); kind && !dynamic) return column(at, name, *kind);
    if (at.what == form::select) return member(at, build(*at.args.front()));
    return unknown_column(at, at.text);
  }

  node_ptr row_member(const expr& at, const std::string& name) {
    const auto kind = columns_.kind(name);
    return kind ? column(at, name, *kind) : unknown_column(at, name);
  }

  node_ptr member(const expr& at, node_ptr of) {
    const auto type_of_target = of->static_type;
    auto n = make(op::member, at);
    n->text = at.text;
    n->args.push_back(std::move(of));
    const bool map = type_of_target.is(type_kind::map);
    n = finish(std::move(n), map ? type_of_target.args[1] : type{});
    if (map || type_of_target.is(type_kind::dyn)) return n;
    return mismatch(at, "a value of type " + type_name(type_of_target) + " has no member '" + at.text + "'",
                    std::move(n));
  }

  // has(a.b): whether a row has the column, or a map the key.
  node_ptr presence(const expr& at) {
    const auto& target = *at.args.front();
    if (is_row(target)) return column_presence(at, at.text);
    const auto parts = dotted(target);
    if (!parts.empty() && local(*parts.front()) == nullptr && columns_.known()) {
      const auto name = joined(parts, parts.size()) + "." + at.text;
      if (columns_.kind(name)) return column_presence(at, name);
    }
    auto n = make(op::presence, at);
    n->text = at.text;
    n->args.push_back(build(target));
    const auto& of = n->args.front()->static_type;
    const bool valid = of.is(type_kind::map) || of.is(type_kind::dyn);
    const auto message = "a value of type " + type_name(of) + " has no members; has() needs a map or row";
    n = finish(std::move(n), {type_kind::boolean});
    return valid ? std::move(n) : mismatch(at, message, std::move(n));
  }
  node_ptr column_presence(const expr& at, const std::string& name) {
    const auto kind = columns_.kind(name);
    if (!kind) {
      plan_.hints.push_back({"no row has the column '" + name + "'" + columns_.suggestion(name), at.begin, at.end});
      return constant(at, bool_value(false), type_kind::boolean);
    }
    auto n = make(op::column_present, at);
    n->slot = slot_of(name, *kind);
    n->text = name;
    n->uses_row = true;
    n->static_type = {type_kind::boolean};
    return n;
  }

  // -------------------------------------------------------------------------------------------- lists and macros ---

  node_ptr list(const expr& at) {
    auto n = make(op::list, at);
    n->args = build_all(at);
    auto of = list_of(common(n->args, 0, 1));
    return finish(std::move(n), std::move(of));
  }
  node_ptr map(const expr& at) {
    auto n = make(op::map, at);
    n->args = build_all(at);
    const auto keys = common(n->args, 0, 2), mapped = common(n->args, 1, 2);
    for (std::size_t i = 0; i < n->args.size(); i += 2) {
      const auto& key = n->args[i]->static_type;
      if (!may_be(key, param::string) && !may_be(key, param::integer) && !may_be(key, param::boolean))
        return mismatch(*at.args[i], "a key cannot be of type " + type_name(key) + "; keys are strings, ints or bools",
                        finish(std::move(n), map_of(keys, mapped)));
    }
    return finish(std::move(n), map_of(keys, mapped));
  }
  static type common(const std::vector<node_ptr>& nodes, std::size_t from, std::size_t step) {
    if (nodes.size() <= from) return {};
    auto all = nodes[from]->static_type;
    for (auto i = from + step; i < nodes.size(); i += step) all = common_type(all, nodes[i]->static_type);
    return all;
  }

  node_ptr macro(const expr& at) {
    static constexpr std::array ops{op::all, op::exists, op::exists_one, op::filter, op::transform};
    auto n = make(ops[static_cast<std::size_t>(at.what) - static_cast<std::size_t>(form::all)], at);
    n->args.push_back(build(*at.args.front()));
    const auto range = n->args.front()->static_type;
    const bool iterable = range.is(type_kind::list) || range.is(type_kind::map) || range.is(type_kind::dyn);
    const auto element = iterable && !range.is(type_kind::dyn) ? range.args[0] : type{};
    n->slot = scopes_.enter(at.text, element);
    plan_.locals = scopes_.most();
    const bool nested = n->slot != 0;
    for (std::size_t i = 1; i < at.args.size(); ++i) n->args.push_back(build(*at.args[i]));
    scopes_.leave();
    const bool has_predicate = n->what != op::transform || n->args.size() == 3;
    const auto predicate = has_predicate ? n->args[1]->static_type : type{};
    auto result = type{type_kind::boolean};
    if (n->what == op::filter) result = list_of(element);
    if (n->what == op::transform) result = list_of(n->args.back()->static_type);
    n = finish(std::move(n), std::move(result));
    // The variables of the outermost macro are its own.
    n->uses_local = nested && n->uses_local;
    if (!iterable)
      return mismatch(*at.args.front(), "a value of type " + type_name(range) + " is not a list or a map",
                      std::move(n));
    if (!may_be(predicate, param::boolean))
      return mismatch(*at.args[1], "the condition is of type " + type_name(predicate) + "; it must be a bool",
                      std::move(n));
    return n;
  }

  // ------------------------------------------------------------------------------------------------------- calls ---

  node_ptr call(const expr& at) {
    if (!at.has_target) {
      if (const auto o = operator_of(at.text); o && at.args.size() == 2) return binary(at, *o);
      if (at.text == "&&" || at.text == "||") return logical(at);
      if (at.text == "!") return logical(at);
      if (at.text == "-") return negate(at);
      if (at.text == "?:") return conditional(at);
    }
    return function_call(at);
  }

  node_ptr binary(const expr& at, binary_op o) {
    const bool constant_key = at.args[1]->what == form::string_literal && o == binary_op::index;
    if (constant_key && is_row(*at.args[0])) return row_member(at, at.args[1]->text);
    if (o == binary_op::in && at.args[0]->what == form::string_literal && is_row(*at.args[1]))
      return column_presence(at, at.args[0]->text);
    auto left = build(*at.args[0]);
    auto right = build(*at.args[1]);
    const bool equality = o == binary_op::equals || o == binary_op::not_equals;
    if (why_ && equality && may_be(left->static_type, param::string)) advise_quotes(*at.args[1]);
    return operation(at, at.text, o, std::move(left), std::move(right));
  }
  node_ptr chain(const expr& at) {
    auto left = build(*at.args[0]);
    for (std::size_t i = 0; i < at.text.size(); ++i) {
      const auto sign = std::string_view(at.text).substr(i, 1);
      left = operation(at, sign, *operator_of(sign), std::move(left), build(*at.args[i + 1]));
    }
    return left;
  }
  node_ptr operation(const expr& at, std::string_view sign, binary_op o, node_ptr left, node_ptr right) {
    const auto a = left->static_type, b = right->static_type;
    auto result = result_type(o, a, b);
    const bool valid = result.has_value();
    auto n = at.what == form::chain && continues(*left, *right) ? std::move(left) : make(op::binary, at);
    if (left) {
      n->which = o;
      n->args.push_back(std::move(left));
      n->args.push_back(std::move(right));
      n = finish(std::move(n), valid ? *std::move(result) : type{});
    } else {
      n = extend(std::move(n), sign, std::move(right), valid ? *std::move(result) : type{});
    }
    if (valid) return n;
    // A comparison of a column with a value that it never has is a mistake even if the result does not depend on it.
    const bool equality = o == binary_op::equals || o == binary_op::not_equals;
    auto message = mismatch_of(sign, o, a, b);
    if (n->uses_row && equality && !why_) why_ = problem{message, at.begin, at.end};
    return mismatch(at, std::move(message), std::move(n));
  }
  // In kind == meter and in id == th-17, the unknown name was probably meant as a text.
  void advise_quotes(const expr& right) {
    const bool minus = right.what == form::call && right.text == "-" && right.args.size() == 2;
    const auto& name = minus ? *right.args[0] : right;
    if (name.what != form::name || why_->begin != name.begin || !why_->message.starts_with("unknown column")) return;
    const bool number = minus && right.args[1]->what == form::int_literal;
    const auto text = name.text + (number ? "-" + std::to_string(right.args[1]->integer) : std::string());
    why_->message += "; put a text in quotes: '" + text + "'";
  }
  static std::string mismatch_of(std::string_view sign, binary_op o, const type& a, const type& b) {
    const auto shown = o == binary_op::index ? type_name(a) + "[" + type_name(b) + "]"
                                             : type_name(a) + " " + std::string(sign) + " " + type_name(b);
    return "no such overload: " + shown + conversion_advice(o, a, b);
  }
  // Return whether an operand can be appended to the operations before it. Operations on constants stay a node of their own,
  // which is computed now, if an operand follows that is not constant.
  static bool continues(const node& left, const node& right) {
    const auto constant = [](const node& n) { return !n.uses_row && !n.uses_local; };
    const bool operations = left.what == op::chain || (left.what == op::binary && left.which <= binary_op::modulo);
    return operations && (constant(right) || !constant(left));
  }
  node_ptr extend(node_ptr n, std::string_view sign, node_ptr operand, type of) {
    if (n->what == op::binary) n->text = sign_of(n->which);
    n->what = op::chain;
    n->text += sign;
    n->static_type = std::move(of);
    n->uses_row = n->uses_row || operand->uses_row;
    n->uses_local = n->uses_local || operand->uses_local;
    if (n->uses_row || n->uses_local) fold(*operand, plan_);
    n->args.push_back(std::move(operand));
    return n;
  }
  static std::string conversion_advice(binary_op o, const type& a, const type& b) {
    if (o == binary_op::modulo && a.is_number() && b.is_number()) return "; convert with int(...)";
    const auto time = [](const type& t) { return t.is(type_kind::timestamp) || t.is(type_kind::duration); };
    const bool text = (a.is(type_kind::string) && time(b)) || (b.is(type_kind::string) && time(a));
    if (text && o != binary_op::index && o != binary_op::in)
      return "; convert the text with timestamp(...) or duration(...)";
    if (o == binary_op::add && (a.is(type_kind::string) || b.is(type_kind::string)))
      return "; convert with string(...)";
    return {};
  }

  node_ptr logical(const expr& at) {
    auto n = make(at.text == "!" ? op::logical_not : at.text == "&&" ? op::logical_and : op::logical_or, at);
    n->args = build_all(at);
    for (std::size_t i = 0; i < n->args.size(); ++i) {
      const auto t = n->args[i]->static_type;
      if (!may_be(t, param::boolean))
        return mismatch(
            *at.args[i],
            "no such overload: the operand of " + at.text + " is of type " + type_name(t) + "; it must be a bool",
            finish(std::move(n), {type_kind::boolean}));
    }
    return finish(std::move(n), {type_kind::boolean});
  }

  node_ptr negate(const expr& at) {
    auto n = make(op::negate, at);
    n->args = build_all(at);
    const auto t = n->args.front()->static_type;
    n = finish(std::move(n), t.is_number() ? type{t.kind} : type{});
    if (t.is_number() || t.is(type_kind::dyn)) return n;
    return mismatch(at, "no such overload: -" + type_name(t), std::move(n));
  }

  // If one branch is an int and the other a double, the int becomes a double.
  node_ptr conditional(const expr& at) {
    auto n = make(op::conditional, at);
    n->args = build_all(at);
    const auto condition = n->args[0]->static_type;
    for (const std::size_t i : {1U, 2U}) {
      const auto other = n->args[3 - i]->static_type.kind;
      if (n->args[i]->static_type.is(type_kind::integer) && other == type_kind::real)
        n->args[i] = converted(*at.args[i], std::move(n->args[i]));
    }
    auto common = common_type(n->args[1]->static_type, n->args[2]->static_type);
    n = finish(std::move(n), std::move(common));
    if (may_be(condition, param::boolean)) return n;
    return mismatch(*at.args[0], "the condition is of type " + type_name(condition) + "; it must be a bool",
                    std::move(n));
  }
  node_ptr converted(const expr& at, node_ptr integer) {
    auto n = make(op::to_double, at);
    const bool nullable = integer->static_type.nullable;
    n->args.push_back(std::move(integer));
    return finish(std::move(n), {type_kind::real, nullable});
  }

  // A function's full name is its own name, or that of a namespace and its own: math.abs(x).
  node_ptr function_call(const expr& at) {
    if (auto misused = misused_macro(at.text); !misused.empty()) return wrong(at, std::move(misused));
    const bool qualified = at.has_target && at.args[0]->what == form::name && local(*at.args[0]) == nullptr &&
                           is_namespace(at.args[0]->text);
    auto n = make(op::call, at);
    n->text = qualified ? at.args[0]->text + "." + at.text : at.text;
    n->args = build_all(at, qualified ? 1 : 0);
    if (qualified)
      for (const auto& a : n->args) fold(*a, plan_);  // the type of math.greatest depends on constants
    auto checked = check_call(*n, at.has_target && !qualified);
    n = finish(std::move(n), std::move(checked.result));
    if (checked.mistake.empty()) return n;
    const auto& place = checked.argument ? *at.args[*checked.argument + (qualified ? 1 : 0)] : at;
    return checked.unknown ? wrong(place, std::move(checked.mistake))
                           : mismatch(place, std::move(checked.mistake), std::move(n));
  }

  const column_names& columns_;
  const bool unchecked_;
  plan& plan_;
  local_scopes scopes_;
  std::optional<problem> why_;
};

}  // namespace

std::optional<problem> check(const expr& tree, const column_names& columns, bool unchecked, plan& to) {
  return checker(columns, unchecked, to).run(tree);
}

}  // namespace pl::cel
