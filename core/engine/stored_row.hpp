// SPDX-License-Identifier: Apache-2.0
// A row as one JSON object, from which the same row can be made again: the column `record` of a dead letter. JSON has
// fewer types than cells, so the last member, "$kinds", has the kind of each column, in the order of the schema. Bytes and
// text that not every database accepts in JSON (with a NUL) are in base64. If the record became several equal rows, all but
// the first have a number before it: "$copy":1.
//
//   {"device_id":"d7","temperature":21,"time":"2026-11-24T18:00:00Z","$kinds":{"time":"time","device_id":"text",
//    "temperature":"real","labels":"null"}}
//
// Pure functions; they depend on the SDK alone.
#pragma once

#include <pipeline/batch.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// left_out: returns whether a column's value is stored elsewhere. Its kind is written, its value is not. copy: the number
// of equal rows of the same record before this one.
void append_stored_row(std::string& out, batch_view b, row_index row, const std::function<bool(column_index)>& left_out,
                       std::uint64_t copy = 0);

struct stored_column {
  std::string name;
  std::uint32_t kind = PL_NULL;
  bool present = false;     // false: null, or left out
  std::int64_t number = 0;  // PL_BOOL, PL_I64, PL_TIME_NS
  double real = 0;          // PL_F64
  std::string bytes;        // PL_TEXT, PL_BYTES, PL_JSON
};
using stored_row = std::vector<stored_column>;

// Return nothing if the object has no kinds, or a value that is not of its kind.
[[nodiscard]] std::optional<stored_row> parse_stored_row(std::string_view object);

// Return the number of equal rows of the same record before this one. A column of the name "$copy" hides it.
[[nodiscard]] std::uint64_t copy_number(std::string_view object);

// Decode what append_json writes for PL_BYTES: text, or {"base64": "..."} for bytes that are not UTF-8. Return the JSON
// itself for any other value.
[[nodiscard]] std::string bytes_from_json(std::string_view json);

}  // namespace pl::engine
