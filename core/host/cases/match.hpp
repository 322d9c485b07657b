// SPDX-License-Identifier: Apache-2.0
// Compares what an output received with what a test case expects. Pure functions.
#pragma once

#include "host/cases/captured_row.hpp"
#include "host/cases/test_case.hpp"

#include <string>
#include <vector>

namespace pl::host {

// A difference between expected and actual rows, for people. Lines that begin with "- " show what was expected, and lines
// that begin with "+ " what was received.
struct finding {
  std::string headline;  // "sink 'store': row 2 differs"
  config::location where;
  std::vector<std::string> lines;
};

// what: the output, "sink 'store'".
[[nodiscard]] std::vector<finding> check_output(const std::string& what, const expected_output& expected,
                                                const std::vector<captured_row>& rows);

}  // namespace pl::host
