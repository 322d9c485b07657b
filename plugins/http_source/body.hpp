// SPDX-License-Identifier: Apache-2.0
// These functions split the body of a request into records: one JSON document, several, or bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace http {

enum class form {
  json,    // one document; each element of an array is a record
  ndjson,  // one document per line
  raw      // one record with any content
};

// Return the form for a media type such as "application/json; charset=utf-8". An empty type means JSON, because many
// devices send no type. Return nothing if the type is not supported.
[[nodiscard]] std::optional<form> form_of(std::string_view media_type);

struct split_limits {
  std::size_t max_records = 10'000;
  bool check = true;  // false: accept invalid JSON as a record, too
};

// The reason why a body cannot be split, and its place.
struct split_problem {
  std::string why;
  std::size_t record = 0, line = 0, column = 0;  // from 1; 0: no particular place
  bool too_many = false;
};

// Split a body into records, as views of their original bytes. On a problem, return it and leave `records` empty.
[[nodiscard]] std::optional<split_problem> split(std::string_view body, form as, const split_limits& limits,
                                                 std::vector<std::string_view>& records);

}  // namespace http
