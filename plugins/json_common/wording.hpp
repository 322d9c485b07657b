// SPDX-License-Identifier: Apache-2.0
// These functions quote device data in the reasons of dead letters: short, on one line, and always valid UTF-8.
#pragma once

#include "json_scanner.hpp"

#include <string>
#include <string_view>

namespace json {

// Return the bytes in double quotes, truncated after about 60 bytes.
[[nodiscard]] std::string in_quotes(std::string_view bytes);

// Return a key in its original text, with its quotes, truncated after about 60 bytes.
[[nodiscard]] std::string shown_key(std::string_view raw_key);

// Return the kind and the value, such as `the string "abc"`, `the number 1e400`, `true`, `an object`.
[[nodiscard]] std::string described(const json_value& value);

}  // namespace json
