// SPDX-License-Identifier: Apache-2.0
#include "cel_common/call_checker.hpp"

#include "cel_common/library.hpp"
#include "cel_common/zones.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace pl::cel {

namespace {

// math.greatest and math.least take any number of numbers, or a list of them.
constexpr std::array<overload, 3> extreme_overloads(std::string_view name, function of_list) {
  return {{{name, false, 1, {param::list}, param::any, of_list, topic::numbers, {}},
           {name, false, 1, {param::integer}, param::integer, identity, topic::numbers, {}},
           {name, false, 1, {param::real}, param::real, identity, topic::numbers, {}}}};
}
constexpr auto greatest_overloads = extreme_overloads("math.greatest", greatest);
constexpr auto least_overloads = extreme_overloads("math.least", least);

constexpr std::array<std::string_view, 6> macro_names{"has", "all", "exists", "exists_one", "filter", "map"};

std::string types_of(const node& n, bool member) {
  std::string text = member ? type_name(n.args[0]->static_type) + "." : "";
  text += n.text + "(";
  for (std::size_t i = member ? 1 : 0; i < n.args.size(); ++i)
    text.append(i == (member ? 1U : 0U) ? "" : ", ").append(type_name(n.args[i]->static_type));
  return text + ")";
}

// Return what the function would take instead.
std::string alternatives(std::span<const overload> overloads) {
  std::string text;
  for (const auto& o : overloads) text.append(text.empty() ? "; available: " : ", ").append(signature(o));
  return text;
}

// Return what to write instead of a function that other languages have; empty if there is nothing.
std::string_view counterpart(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 19> known{
      {{"max", "math.greatest"},
       {"min", "math.least"},
       {"greatest", "math.greatest"},
       {"least", "math.least"},
       {"round", "math.round"},
       {"abs", "math.abs"},
       {"floor", "math.floor"},
       {"ceil", "math.ceil"},
       {"sqrt", "math.sqrt"},
       {"len", "size"},
       {"length", "size"},
       {"count", "size"},
       {"toUpper", "upperAscii"},
       {"upper", "upperAscii"},
       {"toLower", "lowerAscii"},
       {"lower", "lowerAscii"},
       {"not", "!"},
       {"now", "the column of the record's time; an expression does not read the clock"},
       {"coalesce", "x != null ? x : 0"}}};
  const auto at = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.first == name; });
  return at == known.end() ? std::string_view() : at->second;
}

checked_call unknown_function(const node& n, bool member) {
  if (const auto other = find_overloads(n.text, !member); !other.empty())
    return {{}, n.text + "() is called as " + signature(other.front()), true, std::nullopt};
  if (const auto instead = counterpart(n.text); !instead.empty())
    return {{}, "unknown function '" + n.text + "'; write " + std::string(instead), true, std::nullopt};
  std::vector<std::string_view> names(macro_names.begin(), macro_names.end());
  for (const auto& o : all_overloads()) names.push_back(o.name);
  names.insert(names.end(), {"math.greatest", "math.least"});
  return {{}, "unknown function '" + n.text + "'" + did_you_mean(n.text, names, "; "), true, std::nullopt};
}

// Make one list of all arguments.
void wrap_arguments(node& n) {
  auto list = std::make_unique<node>();
  list->what = op::list;
  list->offset = n.offset;
  list->end = n.end;
  list->args = std::move(n.args);
  for (const auto& a : list->args) {
    list->uses_row = list->uses_row || a->uses_row;
    list->uses_local = list->uses_local || a->uses_local;
  }
  n.args.clear();
  n.args.push_back(std::move(list));
}

// Return the type of the greatest or least of some numbers. Integers beside doubles are not converted, so that the type of
// the result is known only at run time. Constants that a double holds exactly become doubles, which keeps the type.
type type_of_extreme(node& n) {
  const auto all = [&](auto&& holds) { return std::all_of(n.args.begin(), n.args.end(), holds); };
  if (all([](const node_ptr& a) { return a->static_type.is(type_kind::integer); })) return {type_kind::integer};
  if (!all([](const node_ptr& a) { return a->static_type.is(type_kind::real) || is_exact_double(*a); })) return {};
  for (const auto& a : n.args) {
    if (is_exact_double(*a) && a->constant.is(value_kind::integer))
      a->constant = double_value(static_cast<double>(a->constant.integer));
    a->static_type = {type_kind::real, a->static_type.nullable};
  }
  return {type_kind::real};
}

checked_call check_extreme(node& n) {
  n.overloads = n.text == "math.greatest" ? greatest_overloads : least_overloads;
  if (n.args.empty()) return {{}, n.text + "() needs at least one number", true, std::nullopt};
  const auto mistake =
      "no such overload: " + types_of(n, false) + "; the arguments must be numbers, or one list of numbers";
  const auto& first = n.args[0]->static_type;
  if (n.args.size() == 1 && (first.is(type_kind::list) || first.is(type_kind::dyn))) {
    const auto element = first.element();
    const bool valid = element.is_number() || element.is(type_kind::dyn);
    return {type{element.kind}, valid ? "" : mistake, false, 0};
  }
  std::optional<std::size_t> wrong;
  for (std::size_t i = 0; i < n.args.size(); ++i) {
    const auto& t = n.args[i]->static_type;
    if (!t.is_number() && !t.is(type_kind::dyn) && !wrong) wrong = i;
  }
  auto result = type_of_extreme(n);
  wrap_arguments(n);
  n.args[0]->static_type = list_of(result);
  return {std::move(result), wrong ? mistake : "", false, wrong};
}

const value* constant_string(const node& n) {
  return n.what == op::constant && n.constant.is(value_kind::string) ? &n.constant : nullptr;
}

// A constant regular expression is compiled once.
checked_call check_pattern(node& n) {
  const auto* text = n.args.size() == 2 ? constant_string(*n.args[1]) : nullptr;
  if (text == nullptr) return {{type_kind::boolean}, {}, false, std::nullopt};
  auto compiled = std::make_shared<const pattern>(text->view());
  if (!compiled->mistake().empty()) return {{type_kind::boolean}, compiled->mistake(), false, 1};
  n.what = op::match_pattern;
  n.compiled = std::move(compiled);
  n.args.pop_back();
  return {{type_kind::boolean}, {}, false, std::nullopt};
}

}  // namespace

std::string misused_macro(std::string_view name) {
  if (std::find(macro_names.begin(), macro_names.end(), name) == macro_names.end()) return {};
  return std::string(name) +
         "() is called with other arguments: has(row.column), list.all(x, condition), list.exists(x, condition), "
         "list.exists_one(x, condition), list.filter(x, condition), list.map(x, result)";
}

bool is_namespace(std::string_view name) noexcept { return name == "math" || name == "strings"; }

checked_call check_call(node& n, bool member) {
  if (!member && (n.text == "math.greatest" || n.text == "math.least")) return check_extreme(n);
  n.overloads = find_overloads(n.text, member);
  if (n.overloads.empty()) return unknown_function(n, member);
  std::optional<type> result;
  for (const auto& o : n.overloads) {
    bool taken = o.count == n.args.size();
    for (std::size_t i = 0; i < n.args.size() && taken; ++i) taken = may_be(n.args[i]->static_type, o.params[i]);
    if (!taken) continue;
    const auto of = type_of(o.result);
    result = !result || result->kind == of.kind ? of : type{};
  }
  if (!result) {
    const bool count = std::any_of(n.overloads.begin(), n.overloads.end(),
                                   [&](const overload& o) { return o.count == n.args.size(); });
    return {{}, "no such overload: " + types_of(n, member) + alternatives(n.overloads), !count, std::nullopt};
  }
  if (n.overloads.front().call == matches) return check_pattern(n);
  if (n.overloads.front().about == topic::times && n.args.size() == 2)
    if (const auto* zone = constant_string(*n.args[1]); zone != nullptr && !is_zone(zone->view()))
      return {*result,
              "unknown time zone '" + std::string(zone->view()) +
                  "'; write a name of the time zone database such as "
                  "Europe/Berlin, or an offset such as +02:00",
              false, 1};
  return {*std::move(result), {}, false, std::nullopt};
}

}  // namespace pl::cel
