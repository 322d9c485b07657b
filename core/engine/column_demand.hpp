// SPDX-License-Identifier: Apache-2.0
// The columns of an output that the nodes behind it use: plain data.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

namespace pl::engine {

struct column_demand {
  bool everything = false;  // also columns that are not named
  std::set<std::string, std::less<>> names = {};

  // An expression that reports the name `a` may have the text a.b and use the column a.b.
  [[nodiscard]] bool has(std::string_view column) const {
    return everything || names.contains(column) || names.contains(column.substr(0, column.find('.')));
  }
  void add(const column_demand& more) {
    everything = everything || more.everything;
    names.insert(more.names.begin(), more.names.end());
  }
};

}  // namespace pl::engine
