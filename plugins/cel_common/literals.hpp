// SPDX-License-Identifier: Apache-2.0
// Reads the values of literals. The same functions convert strings at run time. All functions are pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pl::cel {

// Read a decimal number such as -12.5e3. Return std::nullopt if the text is anything else or if the number is too large
// for a double; a number that is too small becomes 0.
[[nodiscard]] std::optional<double> read_double(std::string_view text) noexcept;

// Read a decimal integer with an optional sign; std::nullopt if the text is anything else or out of range.
[[nodiscard]] std::optional<std::int64_t> read_int(std::string_view text) noexcept;

struct decoded {
  std::string value;
  std::string mistake;             // empty: none
  std::size_t begin = 0, end = 0;  // place of the mistake in the text
};

// Decode the escape sequences between the quotes of a string or, with as_bytes, of a bytes literal.
[[nodiscard]] decoded decode_escapes(std::string_view text, bool as_bytes);

}  // namespace pl::cel
