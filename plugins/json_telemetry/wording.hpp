// SPDX-License-Identifier: Apache-2.0
// How reasons show what a device sent: short, on one line, and valid UTF-8 whatever it was.
#pragma once

#include "json_scanner.hpp"

#include <string>
#include <string_view>

namespace json_telemetry {

// Bytes in double quotes, cut after about 60 of them.
[[nodiscard]] std::string quoted(std::string_view bytes);

// A key as it is written, with its quotes; cut after about 60 bytes.
[[nodiscard]] std::string shown_key(std::string_view raw_key);

// `the text "abc"`, `the number 1e400`, `true`, `an object`.
[[nodiscard]] std::string described(const json_value& value);

}  // namespace json_telemetry
