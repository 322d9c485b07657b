// SPDX-License-Identifier: Apache-2.0
// Dead letters as file_sink has written them: one JSON object a line, in a file and its rotated predecessors.
#pragma once

#include "config/pipeline.hpp"

#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::host {

// A letter's columns; what it lacks is empty or nothing. Bytes are as they were in the record.
struct letter {
  std::string time, pipeline, node, reason, stream;
  std::optional<std::int64_t> time_ns;
  std::optional<std::uint64_t> position;
  std::optional<std::string> topic, key, value;
  std::string headers;                         // JSON
  std::string record;                          // JSON: the rejected row, where the original wasn't there
  std::optional<std::int64_t> record_time_ns;  // the record's own

  // Its original can be put through again: null is an original, too (a tombstone).
  [[nodiscard]] bool has_original() const { return record.empty(); }
};

// Nothing where the line is no letter.
[[nodiscard]] std::optional<letter> parse_letter(std::string_view line);

// RFC 3339, or a date alone (UTC); nanoseconds since the epoch.
[[nodiscard]] std::optional<std::int64_t> parse_time(std::string_view text);

// Which letters are meant; what is empty fits all.
struct letter_filter {
  std::string pipeline, node, reason, stream;  // reason: a part of it
  std::optional<std::int64_t> since;

  [[nodiscard]] bool fits(const letter& l) const;
};

// Where a pipeline's letters are: a path for each writer, most often one. Or why that can't be said: another plugin writes
// them.
[[nodiscard]] result<std::vector<std::filesystem::path>> letter_files(const config::pipeline& p);

// The file, after those that were rotated away from it, the oldest first; only those that are there.
[[nodiscard]] std::vector<std::filesystem::path> with_rotated(const std::filesystem::path& file);

// Every line that ends in a newline. Reads in blocks: files may be larger than the memory. Failure: it can't be read.
[[nodiscard]] result<void> each_line(const std::filesystem::path& file,
                                     const std::function<void(std::string_view line)>& take);

// Control characters and broken bytes as \xNN, so that no letter can send commands to a terminal. keep_lines: \n and \t stay.
[[nodiscard]] std::string shown(std::string_view text, bool keep_lines = false);

}  // namespace pl::host
