// SPDX-License-Identifier: Apache-2.0
// Lists and maps: reading, looking up and making them. JSON is read one level at a time, when it is used.
#pragma once

#include "cel_common/evaluation.hpp"
#include "cel_common/value.hpp"

#include <optional>
#include <span>
#include <string_view>

namespace pl::cel {

// Return the value of a valid JSON document. Objects and arrays remain text until they are used. A number is a double, as
// the specification has it, except for an integer that a double cannot hold exactly, which is an int.
[[nodiscard]] value read_json(evaluation& e, std::string_view document);

// Return a map whose entries have been read from its JSON, or an error.
[[nodiscard]] value read_map(evaluation& e, const value& map);

// The functions below return an empty result if the budget is exhausted: check e.exceeded() after using it.

[[nodiscard]] std::span<const value> elements(evaluation& e, const value& list);
[[nodiscard]] std::span<const entry> entries(evaluation& e, const value& map);
// Return the number of elements or entries.
[[nodiscard]] std::uint32_t count(evaluation& e, const value& list_or_map);

// Return the entry of a key; std::nullopt if there is none. A double with an integer's value finds that integer.
[[nodiscard]] std::optional<value> find(evaluation& e, const value& map, const value& key);
[[nodiscard]] std::optional<value> find(evaluation& e, const value& map, std::string_view key);

enum class duplicates : std::uint8_t { fail, keep_last };
// Make a map of the entries, whose memory must live as long as the map. Return an error for a key of an unsupported kind
// and, with duplicates::fail, for a repeated key.
[[nodiscard]] value make_map(evaluation& e, std::span<entry> entries, duplicates repeated = duplicates::fail);

}  // namespace pl::cel
