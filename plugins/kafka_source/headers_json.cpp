// SPDX-License-Identifier: Apache-2.0
#include "headers_json.hpp"

#include <pipeline/json.hpp>

namespace kafka {

namespace {

// Kafka says that names are UTF-8, but no broker checks it: what isn't becomes U+FFFD, byte by byte.
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
      pl::append_json(out, pl::bytes_cell({static_cast<const char*>(value), size}));
    out += ']';
  }
  out += ']';
}

}  // namespace kafka
