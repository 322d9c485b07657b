// SPDX-License-Identifier: Apache-2.0
// The results of test cases, and their form as JUnit XML.
#pragma once

#include "host/cases/match.hpp"
#include "host/cases/test_case.hpp"

#include <string>
#include <vector>

namespace pl::host {

struct case_result {
  std::string file;  // of cases
  std::string name;
  config::location where;
  double seconds = 0;
  std::vector<finding> findings;  // empty: passed
};

// Return the findings as text, with a place in front of each.
[[nodiscard]] std::string to_text(const std::vector<finding>& findings, bool color);

[[nodiscard]] std::string to_junit(const std::string& suite, const std::vector<case_result>& results);

}  // namespace pl::host
