// SPDX-License-Identifier: Apache-2.0
// The input of a test case, in the form that test_source reads.
#pragma once

#include "config/diagnostics.hpp"
#include "engine/pipeline.hpp"
#include "host/cases/test_case.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace pl::host {

struct case_input {
  std::int64_t now = 0;                      // when the case begins
  std::map<std::string, std::string> lines;  // by source; only of sources that receive records
};

// Return the columns of a source, or those that are usual if it does not declare them.
struct source_column {
  std::string name;
  std::uint32_t kind;
};
[[nodiscard]] std::vector<source_column> columns_of(const engine::node_outputs& source);

// By source: how its option `segments` makes columns from the topic.
using segment_patterns = std::map<std::string, std::string>;

// Report mistakes with their place. sources: those of the pipeline.
[[nodiscard]] case_input make_input(const test_case& c, const std::vector<engine::node_outputs>& sources,
                                    const segment_patterns& segments, const std::filesystem::path& folder,
                                    config::diagnostics& problems);

}  // namespace pl::host
