// SPDX-License-Identifier: Apache-2.0
//
// Make external text (from records, plugins, servers) safe to show. Pure functions, internal to telemetry.
#pragma once

#include <pipeline/text.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace pl::telemetry {

void append_json_string(std::string& out, std::string_view text);     // with quotes; invalid UTF-8: U+FFFD
void append_printable(std::string& out, std::string_view text);       // keeps line breaks; other controls: \x1b
std::string cut_columns(std::string_view text, std::size_t columns);  // valid UTF-8; ends with "…" if cut

}  // namespace pl::telemetry
