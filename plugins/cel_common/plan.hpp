// SPDX-License-Identifier: Apache-2.0
// A compiled expression: a tree of operations whose names are resolved and whose constants are computed.
#pragma once

#include "cel_common/arena.hpp"
#include "cel_common/functions.hpp"
#include "cel_common/operators.hpp"
#include "cel_common/patterns.hpp"
#include "cel_common/types.hpp"
#include "cel_common/value.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pl::cel {

enum class op : std::uint8_t {
  constant,
  failure,         // always fails with the message `text`: a name that is unknown in an expression that is not checked
  column,          // slot
  column_present,  // slot: whether the cell is not null
  row,             // the whole row as a map
  local,           // slot: a variable of a macro
  member,          // args[0].text
  presence,        // has(args[0].text)
  list,
  map,     // keys and values alternate
  call,    // overloads, text: the name
  binary,  // which
  negate,
  logical_not,
  logical_and,
  logical_or,
  conditional,
  to_double,      // converts an int; other values, such as null, stay
  match_pattern,  // args[0] matches the constant `pattern`
  all,            // slot: the variable; args: the range and the predicate; likewise the macros below
  exists,
  exists_one,
  filter,
  transform,  // args: the range, the result; or the range, the predicate, the result
  chain       // args[0] text[0] args[1] text[1] args[2] ..., from left to right: each byte of text is one of + - * / %
};

enum class binary_op : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  modulo,
  equals,
  not_equals,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  index
};

// Return the function of an operator.
[[nodiscard]] binary_operator function_of(binary_op o) noexcept;

struct node {
  op what = op::constant;
  binary_op which = binary_op::add;
  bool uses_row = false;     // the value depends on the row
  bool uses_local = false;   // the value depends on a variable of a macro
  std::uint32_t offset = 0;  // place in the expression
  std::uint32_t end = 0;
  std::uint32_t slot = 0;
  type static_type;
  value constant;
  std::string text;
  std::span<const overload> overloads;
  std::shared_ptr<const pattern> compiled;
  std::vector<std::unique_ptr<node>> args;
};
using node_ptr = std::unique_ptr<node>;

// Return whether a node is a constant number that a double holds exactly.
[[nodiscard]] inline bool is_exact_double(const node& n) noexcept {
  constexpr auto most = std::int64_t{1} << 53;
  if (n.what != op::constant || !n.constant.is_number()) return false;
  return n.constant.is(value_kind::real) || (n.constant.integer >= -most && n.constant.integer <= most);
}

// A column that the expression reads.
struct column_use {
  std::string name;
  std::uint32_t kind;  // declared kind of the cells; PL_NULL: unknown
};

struct hint {
  std::string message;
  std::uint32_t begin, end;
};

// Immutable after compilation; several threads may evaluate it at the same time.
struct plan {
  std::string text;
  node_ptr root;
  std::vector<column_use> columns;  // by slot
  bool uses_whole_row = false;      // `row` other than with a constant member
  std::uint32_t locals = 0;         // variables of nested macros
  arena memory;                     // of the constants
  std::int64_t folding_steps = 0;   // spent on constants, which limits the time of the compilation
  std::vector<hint> hints;
};

}  // namespace pl::cel
