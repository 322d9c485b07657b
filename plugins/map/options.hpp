// SPDX-License-Identifier: Apache-2.0
// The options of map, as declared to the host.
#pragma once

#include <pipeline/options.hpp>

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace map {

enum class on_error { null, reject };
constexpr std::array<std::pair<std::string_view, on_error>, 2> choices(on_error) {
  return {{{"null", on_error::null}, {"reject", on_error::reject}}};
}

struct options {
  pl::ordered_map<std::string> set, rename;
  std::vector<std::string> keep, drop;
  on_error errors = on_error::null;

  static pl::option_table<options> table();
};

}  // namespace map
