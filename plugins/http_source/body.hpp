// SPDX-License-Identifier: Apache-2.0
// What stands in a request's body: one JSON document, several, or bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace http {

enum class form {
  json,    // one document; the elements of an array are a record each
  ndjson,  // one document a line
  raw      // one record, whatever it is
};

// The form that a media type ("application/json; charset=utf-8") stands for. No type at all is JSON: many a device sends
// none. Nothing: it isn't one of ours.
[[nodiscard]] std::optional<form> form_of(std::string_view media_type);

struct split_limits {
  std::size_t max_records = 10'000;
  bool check = true;  // false: what is no JSON is a record, too
};

// Why there are no records, and where.
struct split_problem {
  std::string why;
  std::size_t record = 0, line = 0, column = 0;  // from 1; 0: not about one place
  bool too_many = false;
};

// The records of a body, as views of their original bytes.
[[nodiscard]] std::optional<split_problem> split(std::string_view body, form as, const split_limits& limits,
                                                 std::vector<std::string_view>& records);

}  // namespace http
