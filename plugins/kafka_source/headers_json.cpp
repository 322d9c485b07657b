// SPDX-License-Identifier: Apache-2.0
#include "headers_json.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text.hpp>

namespace kafka {

namespace {

// Header names should be UTF-8, but no broker checks them. Replace each invalid byte by U+FFFD.
void append_name(std::string& out, std::string_view name) {
  if (pl::is_utf8(name)) return pl::append_json_string(out, name);
  std::string repaired;
  for (std::size_t i = 0; i < name.size();) {
    const auto n = pl::utf8_sequence(name, i);
    if (n == 0)
      repaired += "\xEF\xBF\xBD";
    else
      repaired += name.substr(i, n);
    i += n == 0 ? 1 : n;
  }
  pl::append_json_string(out, repaired);
}

// Write a value as text, or in base64 if it is binary. A NUL byte is valid UTF-8, but no text has one, and jsonb cannot
// store it: such a value is a binary number.
void append_value(std::string& out, std::string_view value) {
  if (value.find('\0') == std::string_view::npos) return pl::append_json(out, pl::bytes_cell(value));
  out += "{\"base64\":\"" + pl::base64(value) + "\"}";
}

}  // namespace

void write_headers(std::string& out, const rd_kafka_headers_t* headers) {
  out = "[";
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    out += i == 0 ? "[" : ",[";
    append_name(out, name);
    out += ',';
    if (value == nullptr)
      out += "null";
    else
      append_value(out, {static_cast<const char*>(value), size});
    out += ']';
  }
  out += ']';
}

}  // namespace kafka
