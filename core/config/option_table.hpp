// SPDX-License-Identifier: Apache-2.0
// Access to a pl_option table with C++ types. Pure functions, for any thread. Internal to core/config.
#pragma once

#include <pipeline/abi.h>

#include <span>
#include <string_view>
#include <vector>

namespace pl::config {

[[nodiscard]] inline std::string_view view(pl_str s) {
  return s.n == 0 ? std::string_view() : std::string_view(s.p, s.n);
}

[[nodiscard]] std::span<const pl_option> options_of(const pl_component& component);
[[nodiscard]] std::span<const pl_option> fields_of(const pl_option& option);

/// Return the option with that key, or null.
[[nodiscard]] const pl_option* find_option(std::span<const pl_option> table, std::string_view key);
[[nodiscard]] inline bool is_secret(const pl_option& option) { return (option.flags & PL_SECRET) != 0; }

/// Return the words of `allowed`.
[[nodiscard]] std::vector<std::string_view> split_choices(std::string_view allowed);

/// Return an option of the element kind, which checks the elements of a list or map.
[[nodiscard]] pl_option element_of(const pl_option& option);

}  // namespace pl::config
