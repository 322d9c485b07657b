// SPDX-License-Identifier: Apache-2.0
// The sink of tests: keeps the rows in a file, from which the same rows can be read. The sink is linked into the program;
// configurations cannot use it.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

constexpr std::string_view capture_sink_name = "capture_sink";
const pl_plugin& capture_sink_plugin();

}  // namespace pl::host
