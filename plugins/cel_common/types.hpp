// SPDX-License-Identifier: Apache-2.0
// Types that the checker derives for expressions. At run time every value has its own kind; types reject expressions
// that can never work, and select faster code.
#pragma once

#include "cel_common/functions.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace pl::cel {

enum class type_kind : std::uint8_t {
  dyn,  // any value: known at run time
  null,
  boolean,
  integer,
  real,
  string,
  bytes,
  timestamp,
  duration,
  list,
  map
};

struct type {
  type_kind kind = type_kind::dyn;
  bool nullable = false;        // a column: the value may be null
  std::vector<type> args = {};  // list: elements; map: keys, values

  [[nodiscard]] bool is(type_kind k) const noexcept { return kind == k; }
  [[nodiscard]] bool is_number() const noexcept { return kind == type_kind::integer || kind == type_kind::real; }
  [[nodiscard]] type element() const { return args.empty() ? type{} : args[0]; }
};

[[nodiscard]] inline type list_of(type element) { return {type_kind::list, false, {std::move(element)}}; }
[[nodiscard]] inline type map_of(type key, type mapped) {
  return {type_kind::map, false, {std::move(key), std::move(mapped)}};
}
[[nodiscard]] type type_of(param p);
// Return the type of a column whose cells have this kind (PL_F64, ...; PL_NULL: unknown).
[[nodiscard]] type type_of_cells(std::uint32_t kind);

[[nodiscard]] std::string type_name(const type& t);

// Return whether a value of the type may be passed as the parameter.
[[nodiscard]] bool may_be(const type& t, param p);
// Return whether values of the two types may be equal.
[[nodiscard]] bool may_equal(const type& a, const type& b);
// Return whether values of the two types may have an order.
[[nodiscard]] bool may_order(const type& a, const type& b);
// Return a type that holds values of both, without conversion.
[[nodiscard]] type common_type(const type& a, const type& b);

}  // namespace pl::cel
