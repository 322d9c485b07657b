// SPDX-License-Identifier: Apache-2.0
// The functions of the language: their overloads, and how calls are dispatched.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::cel {

// The type of a parameter or result. `any` takes every value; `number` int and double; `strings` is a list of strings.
enum class param : std::uint8_t { any, boolean, integer, real, string, bytes, timestamp, duration, list, strings, map };

enum class topic : std::uint8_t { strings, numbers, times, lists, conversions };

using function = value (*)(evaluation& e, const value* args);

// One overload. A member function is called as args[0].name(args[1], ...), any other as name(args[0], ...).
struct overload {
  std::string_view name;
  bool member = false;
  std::uint8_t count = 0;  // parameters, with the target of a member function
  std::array<param, 4> params{};
  param result = param::any;
  function call = nullptr;
  topic about = topic::strings;
  std::string_view doc;  // one sentence; empty: described with another overload of the name
};

// All overloads; those of one name follow each other.
[[nodiscard]] std::span<const overload> all_overloads() noexcept;

// Return the overloads of a name and a way to call it.
[[nodiscard]] std::span<const overload> find_overloads(std::string_view name, bool member) noexcept;

[[nodiscard]] std::string_view param_name(param p) noexcept;
// Return the overload as it is documented: "string.charAt(int) -> string".
[[nodiscard]] std::string signature(const overload& o);

// Return whether a value can be passed as this parameter.
[[nodiscard]] bool accepts(param p, const value& v) noexcept;

// Call the first overload that takes the values; an error if there is none, or if a value is an error.
[[nodiscard]] value dispatch(evaluation& e, std::span<const overload> overloads, std::string_view name,
                             std::span<const value> args);

}  // namespace pl::cel
