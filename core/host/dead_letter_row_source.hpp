// SPDX-License-Identifier: Apache-2.0
// A source of the rows that nodes rejected, as they were. It is linked into the program and not for configurations.
#pragma once

#include <pipeline/abi.h>

#include <string_view>

namespace pl::host {

constexpr std::string_view dead_letter_row_source_name = "dead_letter_rows_source";
const pl_plugin& dead_letter_row_source_plugin();

}  // namespace pl::host
