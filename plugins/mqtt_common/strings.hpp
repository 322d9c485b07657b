// SPDX-License-Identifier: Apache-2.0
// The rules for strings in MQTT packets (MQTT 5, 1.5.4): topics, filters, client ids, user names, properties. A broker
// closes the connection on a string that breaks them. Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mqtt {

constexpr std::size_t max_string_bytes = 65'535;

// Return whether a valid UTF-8 sequence is a control character or a Unicode noncharacter, on which a broker may close
// the connection.
[[nodiscard]] bool is_discouraged(std::string_view sequence);

// Return why the text is not allowed as a string in a packet ("has a control character (U+0007)"); nullopt if it is
// allowed.
[[nodiscard]] std::optional<std::string> string_problem(std::string_view text);

// Append a text and percent-encode the bytes that are not allowed in a string. A text that needs no encoding stays as
// it is; in the others '%' is encoded, too.
void append_allowed(std::string& out, std::string_view text);

// Return a value for display in a message: quoted, shortened, without control characters.
[[nodiscard]] std::string shown(std::string_view value);

}  // namespace mqtt
