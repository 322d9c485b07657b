// SPDX-License-Identifier: Apache-2.0
// The rejected row of a dead letter, from which `retry` makes the same row again. Pure functions.
#pragma once

#include "engine/stored_row.hpp"
#include "host/dead_letter.hpp"

#include <optional>
#include <string>

namespace pl::host {

// Return nothing if the dead letter has no row, or one without kinds, as earlier versions wrote.
[[nodiscard]] std::optional<engine::stored_row> row_of(const dead_letter& l);

// Return a text that is equal for equal rows of the same record. Their copy numbers (engine::copy_number) differ.
[[nodiscard]] std::string row_identity(const dead_letter& l, const engine::stored_row& row);

// Return the line of a dead letter with the time and the reason of another one.
[[nodiscard]] std::string with_new_reason(const std::string& line, const std::string& newer);

}  // namespace pl::host
