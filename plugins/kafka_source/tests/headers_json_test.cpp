// SPDX-License-Identifier: Apache-2.0
#include "headers_json.hpp"

#include <doctest/doctest.h>
#include <kafka_common/handles.hpp>

namespace {

struct headers {
  rd_kafka_headers_t* raw = rd_kafka_headers_new(4);
  ~headers() { rd_kafka_headers_destroy(raw); }
  headers& add(std::string_view name, const char* value, ssize_t size) {
    rd_kafka_header_add(raw, name.data(), static_cast<ssize_t>(name.size()), value, size);
    return *this;
  }
};

}  // namespace

TEST_CASE("headers: order and repeated names are kept") {
  headers h;
  h.add("b", "1", 1).add("a", "2", 1).add("b", "3", 1);
  std::string json = "left over";
  kafka::write_headers(json, h.raw);
  CHECK(json == R"([["b","1"],["a","2"],["b","3"]])");
}

TEST_CASE("headers: absent and empty values, bytes, names that are not valid UTF-8") {
  headers h;
  h.add("none", nullptr, 0)
      .add("empty", "", 0)
      .add("bytes", "\x00\xFF", 2)
      .add("number", "\0\0\0\5", 4)
      .add("q\"\xC3(", "x", 1);
  std::string json;
  kafka::write_headers(json, h.raw);
  CHECK(json ==
        "[[\"none\",null],[\"empty\",\"\"],[\"bytes\",{\"base64\":\"AP8=\"}],[\"number\",{\"base64\":\"AAAABQ==\"}],"
        "[\"q\\\"\xEF\xBF\xBD(\",\"x\"]]");
}
