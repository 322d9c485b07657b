// SPDX-License-Identifier: Apache-2.0
// The source of tests: the rows of a file, each at its time on the simulated clock. The source is linked into the
// program; configurations cannot use it.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

constexpr std::string_view test_source_name = "test_source";
constexpr std::string_view test_stream = "input";
const pl_plugin& test_source_plugin();

}  // namespace pl::host
