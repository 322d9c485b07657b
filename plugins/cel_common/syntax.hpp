// SPDX-License-Identifier: Apache-2.0
// The syntax tree that the parser makes from an expression. It owns its texts and does not refer to the source.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::cel {

enum class form : std::uint8_t {
  null_literal,
  bool_literal,
  int_literal,
  double_literal,
  string_literal,
  bytes_literal,
  name,      // text; absolute: written with a leading dot
  select,    // args[0].text
  presence,  // has(args[0].text)
  call,      // text(args...); with a target: args[0].text(args[1]...). Operators are calls: "+", "!", "[]", "?:"
  list,      // [args...]
  map,       // {args[0]: args[1], ...}
  all,       // args[0].all(text, args[1]), and likewise for the macros below
  exists,
  exists_one,
  filter,
  transform,  // args[0].map(text, args[1]) or args[0].map(text, args[1] as the filter, args[2])
  chain       // args[0] text[0] args[1] text[1] args[2] ..., from left to right: each byte of text is one of + - * / %
};

struct expr {
  form what = form::null_literal;
  bool absolute = false;             // name, and a call without a target
  bool has_target = false;           // call
  bool boolean = false;              // bool_literal
  std::uint32_t begin = 0, end = 0;  // bytes of the source
  std::uint32_t depth = 1;           // levels of this tree
  std::int64_t integer = 0;          // int_literal
  double real = 0;                   // double_literal
  std::string text;                  // name, member, function, variable; content of a string or bytes literal
  std::vector<std::unique_ptr<expr>> args;
};

using expr_ptr = std::unique_ptr<expr>;

// A mistake in an expression, with the place of the text that is wrong.
struct problem {
  std::string message;
  std::uint32_t begin = 0, end = 0;  // bytes of the source
};

}  // namespace pl::cel
