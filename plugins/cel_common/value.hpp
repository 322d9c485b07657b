// SPDX-License-Identifier: Apache-2.0
// A value of the language: 16 bytes, trivially copyable. It refers to memory of the evaluation that made it, of the
// program (constants) or of the batch (strings of cells), and is valid as long as these are.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pl::cel {

enum class value_kind : std::uint8_t {
  null,
  boolean,
  integer,
  real,
  string,
  bytes,
  timestamp,  // integer: seconds since 1970; size: nanoseconds of the second
  duration,   // integer: nanoseconds
  list,
  map,
  error
};

struct value;
struct entry;

// The entries of a map, in the order in which they were written. Keys are unique booleans, integers or strings.
struct map_data {
  const entry* entries = nullptr;
  const std::uint32_t* sorted = nullptr;  // indexes of the entries by ascending key; null for small maps
};

// Why an evaluation failed, and at which byte of the expression.
struct error_data {
  std::uint32_t offset;
  std::string_view text;
};

struct value {
  value_kind kind = value_kind::null;
  bool json = false;       // list, map: `text` is a JSON array or object that is read when it is used
  std::uint32_t size = 0;  // bytes of text; elements of a list; entries of a map; nanoseconds of a timestamp
  union {
    std::int64_t integer = 0;
    double real;
    const char* text;
    const value* items;
    const map_data* map;
    const error_data* error;
  };

  [[nodiscard]] bool is(value_kind k) const noexcept { return kind == k; }
  [[nodiscard]] bool is_number() const noexcept { return kind == value_kind::integer || kind == value_kind::real; }
  [[nodiscard]] bool is_error() const noexcept { return kind == value_kind::error; }
  [[nodiscard]] bool is_true() const noexcept { return kind == value_kind::boolean && integer != 0; }
  [[nodiscard]] bool is_false() const noexcept { return kind == value_kind::boolean && integer == 0; }
  // The bytes of a string or of bytes, or the JSON text of a list or map that has not been read.
  [[nodiscard]] std::string_view view() const noexcept {
    return size == 0 ? std::string_view{} : std::string_view{text, size};
  }
};
static_assert(sizeof(value) == 16);

struct entry {
  value key, mapped;
};

[[nodiscard]] inline value null_value() noexcept { return {}; }
[[nodiscard]] inline value bool_value(bool b) noexcept {
  value v;
  v.kind = value_kind::boolean;
  v.integer = b ? 1 : 0;
  return v;
}
[[nodiscard]] inline value int_value(std::int64_t i) noexcept {
  value v;
  v.kind = value_kind::integer;
  v.integer = i;
  return v;
}
[[nodiscard]] inline value double_value(double d) noexcept {
  value v;
  v.kind = value_kind::real;
  v.real = d;
  return v;
}
// A view: the bytes are not copied.
[[nodiscard]] inline value span_value(value_kind kind, std::string_view bytes) noexcept {
  value v;
  v.kind = kind;
  v.size = static_cast<std::uint32_t>(bytes.size());
  v.text = bytes.data();
  return v;
}
[[nodiscard]] inline value string_value(std::string_view utf8) noexcept { return span_value(value_kind::string, utf8); }
[[nodiscard]] inline value bytes_value(std::string_view bytes) noexcept { return span_value(value_kind::bytes, bytes); }
[[nodiscard]] inline value timestamp_value(std::int64_t seconds, std::uint32_t nanoseconds) noexcept {
  value v;
  v.kind = value_kind::timestamp;
  v.size = nanoseconds;
  v.integer = seconds;
  return v;
}
[[nodiscard]] inline value duration_value(std::int64_t nanoseconds) noexcept {
  value v;
  v.kind = value_kind::duration;
  v.integer = nanoseconds;
  return v;
}
[[nodiscard]] inline value list_value(std::span<const value> items) noexcept {
  value v;
  v.kind = value_kind::list;
  v.size = static_cast<std::uint32_t>(items.size());
  v.items = items.data();
  return v;
}

// Return the name of the kind in the language: "int", "string", "null", ...
[[nodiscard]] std::string_view kind_name(value_kind kind) noexcept;

}  // namespace pl::cel
