// SPDX-License-Identifier: Apache-2.0
// Finds the overloads of a call and checks its arguments.
#pragma once

#include "cel_common/plan.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace pl::cel {

struct checked_call {
  type result;
  std::string mistake;                  // empty: none
  bool unknown = false;                 // the call can never be evaluated, whatever the values are
  std::optional<std::size_t> argument;  // the argument that is wrong
};

// Complete a call node, whose `text` is the function's full name and whose arguments include the target.
[[nodiscard]] checked_call check_call(node& n, bool member);

// Return what is wrong with a call of a macro that was not expanded; empty if the name is not that of a macro.
[[nodiscard]] std::string misused_macro(std::string_view name);

// Return whether functions have a name that begins with this word and a dot.
[[nodiscard]] bool is_namespace(std::string_view name) noexcept;

}  // namespace pl::cel
