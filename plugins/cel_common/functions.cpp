// SPDX-License-Identifier: Apache-2.0
#include "cel_common/functions.hpp"

#include "cel_common/containers.hpp"

#include <algorithm>

namespace pl::cel {

std::string_view param_name(param p) noexcept {
  switch (p) {
    case param::any:
      return "dyn";
    case param::boolean:
      return "bool";
    case param::integer:
      return "int";
    case param::real:
      return "double";
    case param::string:
      return "string";
    case param::bytes:
      return "bytes";
    case param::timestamp:
      return "timestamp";
    case param::duration:
      return "duration";
    case param::list:
      return "list";
    case param::strings:
      return "list(string)";
    case param::map:
      return "map";
  }
  return "";
}

std::string signature(const overload& o) {
  std::string text;
  std::size_t first = 0;
  if (o.member) text.append(param_name(o.params[first++])).append(".");
  text.append(o.name).append("(");
  for (std::size_t i = first; i < o.count; ++i) text.append(i == first ? "" : ", ").append(param_name(o.params[i]));
  return text.append(") -> ").append(param_name(o.result));
}

bool accepts(param p, const value& v) noexcept {
  switch (p) {
    case param::any:
      return true;
    case param::boolean:
      return v.is(value_kind::boolean);
    case param::integer:
      return v.is(value_kind::integer);
    case param::real:
      return v.is(value_kind::real);
    case param::string:
      return v.is(value_kind::string);
    case param::bytes:
      return v.is(value_kind::bytes);
    case param::timestamp:
      return v.is(value_kind::timestamp);
    case param::duration:
      return v.is(value_kind::duration);
    case param::list:
    case param::strings:  // the function checks the elements
      return v.is(value_kind::list);
    case param::map:
      return v.is(value_kind::map);
  }
  return false;
}

value dispatch(evaluation& e, std::span<const overload> overloads, std::string_view name, std::span<const value> args) {
  for (const auto& v : args)
    if (v.is_error()) return v;
  for (const auto& o : overloads) {
    if (o.count != args.size()) continue;
    bool taken = true;
    for (std::size_t i = 0; i < args.size() && taken; ++i) taken = accepts(o.params[i], args[i]);
    if (taken) return o.call(e, args.data());
  }
  return e.no_overload(name, args);
}

}  // namespace pl::cel
