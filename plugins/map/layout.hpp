// SPDX-License-Identifier: Apache-2.0
// Which columns map emits for the columns of its input, and where each of them comes from. Pure functions.
#pragma once

#include "options.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace map {

struct layout {
  // The columns that exist after all steps of `set`: those of the input, then the new ones in their order.
  std::vector<std::string> work;
  std::vector<std::uint32_t> step_to;  // by step: index in `work` of the column that it sets
  std::vector<std::uint32_t> visible;  // by step: number of columns of `work` that exist before it
  struct output {
    std::string name;
    std::uint32_t from;  // index in `work`
  };
  std::vector<output> out;
};

// Apply set, rename, keep and drop, in this order. Without `faults`, options that name a column that does not exist have no
// effect; with it, each of them is reported there. Two columns of one name are always a failure.
[[nodiscard]] pl::result<layout> plan(std::span<const std::string> columns, const options& o,
                                      std::vector<pl::failure>* faults);

// Return what is wrong with the options, whatever the columns are.
[[nodiscard]] std::vector<pl::failure> faults_of(const options& o);

}  // namespace map
