// SPDX-License-Identifier: Apache-2.0
// Parse, filter and print dead letters. A dead letter is a line with one JSON object, which file_sink writes for the
// engine. All functions are pure and may be called on any thread.
#pragma once

#include "engine/collapsed_letter.hpp"
#include "engine/shortened_letter.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::host {

// The columns of a dead letter. A missing column is empty or nullopt. Bytes are the record's original bytes.
struct dead_letter {
  std::string time, pipeline, node, reason, stream;
  std::optional<std::int64_t> time_ns;
  std::optional<std::uint64_t> position;
  std::optional<std::string> topic, key, value;
  std::string headers;                         // JSON
  std::string record;                          // JSON: the rejected row, see dead_letter_row.hpp
  std::optional<std::int64_t> record_time_ns;  // the record's own time
  // What is missing, if the dead-letter sink rejected the complete dead letter. Then `record` is empty.
  std::optional<std::vector<engine::missing_part>> shortened;

  // The records that the dead letter stands for, if it has none of their originals. Then `record` is empty.
  std::optional<engine::collapsed_records> collapsed;

  // Return the number of records of which this dead letter is one.
  [[nodiscard]] std::uint64_t records() const { return collapsed ? collapsed->records : 1; }
  // Return whether the original record can be retried. A null value is an original, too (a tombstone).
  [[nodiscard]] bool has_original() const {
    if (needs_source() || collapsed) return false;
    return record.empty() || value || key || topic || !headers.empty();
  }
  // Return whether a part of the original record is missing, so that it must be read from the source again.
  [[nodiscard]] bool needs_source() const {
    return shortened && std::ranges::any_of(*shortened, [](const auto& part) { return part.name != "record"; });
  }
};

// Return nothing if the line is not a dead letter.
[[nodiscard]] std::optional<dead_letter> parse_dead_letter(std::string_view line);

// Selects dead letters. An empty member matches every dead letter.
struct dead_letter_filter {
  std::string pipeline, node, reason, stream;  // reason: a substring
  std::optional<std::int64_t> since;

  [[nodiscard]] bool fits(const dead_letter& l) const;
};

// Return the text with control characters and invalid bytes as \xNN, so that no dead letter can send commands to a
// terminal. `keep_lines`: leave \n and \t unchanged.
[[nodiscard]] std::string shown(std::string_view text, bool keep_lines = false);

}  // namespace pl::host
