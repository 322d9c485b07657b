// SPDX-License-Identifier: Apache-2.0
// The options of unpivot, as declared to the host.
#pragma once

#include <pipeline/options.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace unpivot {

struct options {
  std::vector<std::string> columns;
  std::optional<std::string> explode;
  std::vector<std::string> keep;
  std::string name = "metric";
  std::optional<std::string> value, index;
  std::uint32_t max_elements = 10'000;

  static pl::option_table<options> table();
};

}  // namespace unpivot
