// SPDX-License-Identifier: Apache-2.0
// A sink for dry runs that counts rows and discards them. The sink is linked into the program;
// configurations cannot use it.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

constexpr std::string_view discard_sink_name = "discard_sink";
const pl_plugin& discard_sink_plugin();

}  // namespace pl::host
