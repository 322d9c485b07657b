// SPDX-License-Identifier: Apache-2.0
#include <pipeline/payload_template.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <string_view>
#include <vector>

using pl::payload_template;
using encoding = pl::payload_template::encoding;

namespace {

payload_template parsed(std::string_view source) {
  auto t = payload_template::parse(source);
  REQUIRE_MESSAGE(t.ok(), (t.ok() ? "" : t.why().message));
  return std::move(*t);
}

std::vector<encoding> encodings(std::string_view source) {
  std::vector<encoding> all;
  for (const auto t = parsed(source); const auto& p : t.pieces())
    if (p.column) all.push_back(*p.column);
  return all;
}

std::string with(const pl::cell& c, encoding how) {
  std::string out;
  payload_template::append(out, c, how);
  return out;
}

// Texts that a device could send to change the payload or its reader.
const std::vector<std::string> hostile{
    "x\",\"admin\":true,\"y\":\"z", "\"",           "\\",       "\\\"",      "a\\",     "}",    "{\"a\":1}", "\n\r\t",
    std::string("\0\x01\x1F", 3),   "\xE2\x80\xAE", "\xC3\xA9", "</script>", "{x:raw}", "null", "1",         "",
};

}  // namespace

TEST_CASE("a template is JSON if it begins like an object, or is JSON with any value in place of its columns") {
  for (const auto* source :
       {"{{\"a\":\"{x}\"}}", " {{\"a\":{x}", "[{x},{y}]", "\"{x}\"", "{{\"a\":{x}{y}", "[\"{x}-{y}\"]",
        "{{\"a\":1{rest:raw}}}", "[{x:raw},\"{y}\"]", "[{x:raw}]", "[1{x:raw},\"{y}\"]", "{{\"\\\"\":\"{x}\"}}"})
    CHECK_MESSAGE(parsed(source).is_json(), source);
  for (const auto* source :
       {"{x}", " {x} ", "{x},{y}", "[{x}] {y}", "plain", "temperature {x} C", "\"{x}\" is {y}", "{x}!", ""})
    CHECK_MESSAGE(!parsed(source).is_json(), source);
}

TEST_CASE("the encoding of a column depends on its place and its suffix") {
  using all = std::vector<encoding>;
  CHECK(encodings("{{\"a\":\"{x}\",\"b\":{y}}}") == all{encoding::json_string, encoding::json});
  CHECK(encodings("{{\"{x}\":\"\\\"{y}\\\\\",\"z\":{z}}}") ==
        all{encoding::json_string, encoding::json_string, encoding::json});
  CHECK(encodings("{{\"a\":\"{x:raw}\",\"b\":\"{y:json}\",\"c\":{z:json},\"d\":{w:raw}}}") ==
        all{encoding::plain, encoding::json_quoted, encoding::json, encoding::plain});
  CHECK(encodings("[{x:raw},\"{y}\",{z}]") == all{encoding::plain, encoding::json_string, encoding::json});
  CHECK(encodings("{x} {y:raw} {z:json}") == all{encoding::plain, encoding::plain, encoding::json});
  CHECK(parsed("{a:b}").pieces().front().text == "a:b");  // other suffixes belong to the name
  CHECK(parsed("{a:json}").pieces().front().text == "a");
  CHECK_FALSE(payload_template::parse("{:raw}").ok());
  CHECK_FALSE(payload_template::parse("{x").ok());
}

TEST_CASE("hostile texts stay one string: no encoding for JSON changes the structure") {
  for (const auto& text : hostile) {
    CAPTURE(text);
    const auto cell = pl::text_cell(text);
    CHECK(pl::json_text("\"" + with(cell, encoding::json_string) + "\"") == text);
    CHECK(pl::json_text(with(cell, encoding::json)) == text);
    const auto nested = pl::json_text("\"" + with(cell, encoding::json_quoted) + "\"");
    REQUIRE(nested);
    CHECK(pl::json_text(*nested) == text);
    CHECK(with(cell, encoding::plain) == text);
  }
}

TEST_CASE("values other than texts") {
  CHECK(with(pl::cell{}, encoding::json) == "null");
  CHECK(with(pl::cell{}, encoding::json_string).empty());
  CHECK(with(pl::real_cell(1.5), encoding::json) == "1.5");
  for (const double odd : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()})
    CHECK(with(pl::real_cell(odd), encoding::json) == "null");
  CHECK(with(pl::time_cell(0), encoding::json) == "\"1970-01-01T00:00:00Z\"");
  CHECK(with(pl::time_cell(0), encoding::json_string) == "1970-01-01T00:00:00Z");
  // The bytes of a record are embedded if they are one JSON document.
  CHECK(with(pl::bytes_cell("{\"a\":\n1}"), encoding::json) == "{\"a\": 1}");
  CHECK(with(pl::bytes_cell("1},{\"admin\":true"), encoding::json) == "\"1},{\\\"admin\\\":true\"");
  CHECK(with(pl::bytes_cell("\xFF"), encoding::json) == "{\"base64\":\"/w==\"}");
  CHECK(with(pl::bytes_cell("\xFF\""), encoding::json_string) == "\xEF\xBF\xBD\\\"");
}
