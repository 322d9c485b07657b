// SPDX-License-Identifier: Apache-2.0
// The values of the conformance cases: JSON objects with one member, whose name is the type.
#pragma once

#include "cel_common/containers.hpp"
#include "cel_common/evaluation.hpp"

#include <pipeline/json_members.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pl::cel::testing {

// Return the members of a JSON object, with their values in their original text.
inline std::map<std::string, std::string> members_of(std::string_view object) {
  std::map<std::string, std::string> members;
  if (!each_json_member(object, [&](auto key, auto text) { members.emplace(*json_text(key), text); }))
    throw std::runtime_error("not a JSON object: " + std::string(object));
  return members;
}

inline std::vector<std::string> elements_of(std::string_view array) {
  std::vector<std::string> items;
  pl::detail::json_walk walk(array);
  walk.space();
  (void)walk.take('[');
  walk.space();
  if (walk.take(']')) return items;
  do {
    walk.space();
    const auto at = walk.here();
    if (!walk.value()) throw std::runtime_error("not a JSON array: " + std::string(array));
    items.emplace_back(walk.since(at));
    walk.space();
  } while (walk.take(','));
  return items;
}

inline value typed_value(evaluation& e, std::string_view json) {
  const auto [type, text] = *members_of(json).begin();
  if (type == "null") return null_value();
  if (type == "bool") return bool_value(text == "true");
  if (type == "list") {
    const auto items = elements_of(text);
    auto* made = e.allocate<value>(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) made[i] = typed_value(e, items[i]);
    return list_value({made, items.size()});
  }
  if (type == "map") {
    const auto pairs = elements_of(text);
    auto* made = e.allocate<entry>(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto pair = elements_of(pairs[i]);
      made[i] = {typed_value(e, pair.at(0)), typed_value(e, pair.at(1))};
    }
    return make_map(e, {made, pairs.size()});
  }
  const auto content = *json_text(text);
  if (type == "int") return int_value(std::stoll(content));
  if (type == "double") return double_value(std::stod(content));
  if (type == "bytes") return e.copy(value_kind::bytes, *from_hex(content));
  if (type == "string") return e.copy_string(content);
  throw std::runtime_error("unknown type " + type);
}

// Return whether two values are the same: of the same kind, NaN equal to NaN, 0.0 different from -0.0.
inline bool same(evaluation& e, const value& a, const value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case value_kind::null:
      return true;
    case value_kind::real:
      if (std::isnan(a.real) || std::isnan(b.real)) return std::isnan(a.real) && std::isnan(b.real);
      return a.real == b.real && std::signbit(a.real) == std::signbit(b.real);
    case value_kind::string:
    case value_kind::bytes:
      return a.view() == b.view();
    case value_kind::list: {
      const auto left = elements(e, a), right = elements(e, b);
      return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                        [&](const value& x, const value& y) { return same(e, x, y); });
    }
    case value_kind::map: {
      const auto left = entries(e, a);
      return count(e, a) == count(e, b) && std::all_of(left.begin(), left.end(), [&](const entry& x) {
               const auto other = find(e, b, x.key);
               return other && same(e, x.mapped, *other);
             });
    }
    case value_kind::timestamp:
      return a.integer == b.integer && a.size == b.size;
    default:
      return a.integer == b.integer;
  }
}

}  // namespace pl::cel::testing
