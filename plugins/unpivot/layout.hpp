// SPDX-License-Identifier: Apache-2.0
// Which columns unpivot emits for the columns of its input. Pure functions.
#pragma once

#include "options.hpp"

#include <pipeline/component.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace unpivot {

// The output is the kept columns, then the label (the metric's name, or the element's index), then the value.
struct layout {
  std::vector<pl::column_index> kept, turned;  // columns of the input; turned: those that become rows
  std::vector<std::string> turned_names;
  std::vector<std::string> out;
  std::vector<std::uint32_t> out_kinds;
};

// kinds: of the columns; may be empty. Without `faults`, columns that do not exist have no effect; with it, each of them is
// reported there. Two output columns of one name are always a failure.
[[nodiscard]] pl::result<layout> plan(std::span<const std::string> columns, std::span<const std::uint32_t> kinds,
                                      const options& o, std::vector<pl::failure>* faults);

// Return what is wrong with the options, whatever the columns are.
[[nodiscard]] std::vector<pl::failure> faults_of(const options& o);

}  // namespace unpivot
