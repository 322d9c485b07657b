// SPDX-License-Identifier: Apache-2.0
#include "cel_common/types.hpp"

#include <pipeline/abi.h>

namespace pl::cel {

type type_of(param p) {
  switch (p) {
    case param::any:
      return {};
    case param::boolean:
      return {type_kind::boolean};
    case param::integer:
      return {type_kind::integer};
    case param::real:
      return {type_kind::real};
    case param::string:
      return {type_kind::string};
    case param::bytes:
      return {type_kind::bytes};
    case param::timestamp:
      return {type_kind::timestamp};
    case param::duration:
      return {type_kind::duration};
    case param::list:
      return list_of({});
    case param::strings:
      return list_of({type_kind::string});
    case param::map:
      return map_of({}, {});
  }
  return {};
}

type type_of_cells(std::uint32_t kind) {
  switch (kind) {
    case PL_BOOL:
      return {type_kind::boolean, true};
    case PL_I64:
      return {type_kind::integer, true};
    case PL_F64:
      return {type_kind::real, true};
    case PL_TIME_NS:
      return {type_kind::timestamp, true};
    case PL_TEXT:
      return {type_kind::string, true};
    case PL_BYTES:
      return {type_kind::bytes, true};
    default:  // PL_JSON: any value; PL_NULL: unknown
      return {};
  }
}

std::string type_name(const type& t) {
  switch (t.kind) {
    case type_kind::dyn:
      return "dyn";
    case type_kind::null:
      return "null";
    case type_kind::list:
      return "list(" + type_name(t.element()) + ")";
    case type_kind::map:
      return t.args.size() < 2 ? "map" : "map(" + type_name(t.args[0]) + ", " + type_name(t.args[1]) + ")";
    case type_kind::boolean:
      return "bool";
    case type_kind::integer:
      return "int";
    case type_kind::real:
      return "double";
    case type_kind::string:
      return "string";
    case type_kind::bytes:
      return "bytes";
    case type_kind::timestamp:
      return "timestamp";
    case type_kind::duration:
      return "duration";
  }
  return {};
}

bool may_be(const type& t, param p) {
  if (t.is(type_kind::dyn) || p == param::any) return true;
  const auto wanted = type_of(p);
  if (t.kind != wanted.kind) return false;
  return p != param::strings || t.element().is(type_kind::dyn) || t.element().is(type_kind::string);
}

bool may_equal(const type& a, const type& b) {
  if (a.is(type_kind::dyn) || b.is(type_kind::dyn) || a.is(type_kind::null) || b.is(type_kind::null)) return true;
  if (a.is_number() && b.is_number()) return true;
  if (a.kind != b.kind) return false;
  for (std::size_t i = 0; i < a.args.size() && i < b.args.size(); ++i)
    if (!may_equal(a.args[i], b.args[i])) return false;
  return true;
}

bool may_order(const type& a, const type& b) {
  const auto ordered = [](const type& t) {
    return !t.is(type_kind::null) && !t.is(type_kind::list) && !t.is(type_kind::map);
  };
  return ordered(a) && ordered(b) && may_equal(a, b);
}

type common_type(const type& a, const type& b) {
  const auto nullable = [](type t) {
    t.nullable = !t.is(type_kind::dyn);
    return t;
  };
  if (a.is(type_kind::null)) return b.is(type_kind::null) ? a : nullable(b);
  if (b.is(type_kind::null)) return nullable(a);
  if (a.kind != b.kind || a.args.size() != b.args.size()) return {};
  type common{a.kind, a.nullable || b.nullable};
  for (std::size_t i = 0; i < a.args.size(); ++i) common.args.push_back(common_type(a.args[i], b.args[i]));
  return common;
}

}  // namespace pl::cel
