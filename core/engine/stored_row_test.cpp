// SPDX-License-Identifier: Apache-2.0
#include "engine/stored_row.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace pl;
using namespace pl::engine;

namespace {

const auto nothing = [](column_index) { return false; };

pl::cell cell_of(const stored_column& c) {
  switch (c.kind) {
    case PL_BOOL:
      return bool_cell(c.number != 0);
    case PL_I64:
      return int_cell(c.number);
    case PL_F64:
      return real_cell(c.real);
    case PL_TIME_NS:
      return time_cell(c.number);
    default:
      return c.present ? span_cell(c.kind, c.bytes) : null_cell();
  }
}

bool same(const cell& a, const cell& b) {
  if (a.kind != b.kind) return false;
  if (has_bytes(a)) return bytes_of(a) == bytes_of(b);
  return is_null(a) || a.as.i == b.as.i;  // the bits of a real
}

}  // namespace

TEST_CASE("a row is read back with the kind and the value of each cell, and with the order of its columns") {
  testing::fake_host host;
  const std::string binary("\xff\x00{", 3);
  const auto b = host.make_batch({
      {"time", {time_cell(1'764'000'000'123'456'789)}},
      {"null", {null_cell()}},
      {"yes", {bool_cell(true)}},
      {"no", {bool_cell(false)}},
      {"int", {int_cell(std::numeric_limits<std::int64_t>::min())}},
      {"whole", {real_cell(21)}},
      {"tiny", {real_cell(5e-324)}},
      {"minus zero", {real_cell(-0.0)}},
      {"huge", {real_cell(1.7976931348623157e308)}},
      {"not a number", {real_cell(std::numeric_limits<double>::quiet_NaN())}},
      {"infinite", {real_cell(-std::numeric_limits<double>::infinity())}},
      {"text", {text_cell("2026-11-24T18:00:00Z \"\\\n\t\u0001 ü")}},
      {"", {text_cell("")}},
      {"bytes", {bytes_cell("plain")}},
      {"binary", {bytes_cell(binary)}},
      {"looks coded", {bytes_cell("{\"base64\": \"eA==\"}")}},
      {"json", {json_cell("{\"a\": [1e400, null, \"\\u00e9\"]}")}},
      {"json text", {json_cell("\"x\"")}},
      {"json null", {json_cell("null")}},
      {"text with NUL", {text_cell(std::string_view("a\0b", 3))}},
      {"bytes with NUL", {bytes_cell(std::string_view("a\0b", 3))}},
      {"json with NUL", {json_cell("[\"\\u0000\", {\"x\": \"\\\\u0000\"}]")}},
      {"$kinds", {text_cell("a column of this name")}},
  });
  std::string json;
  append_stored_row(json, b.get(), 0, nothing);
  CHECK(json.find("\\u0000") == std::string::npos);  // PostgreSQL accepts it as jsonb
  const auto row = parse_stored_row(json);
  REQUIRE(row);
  REQUIRE(row->size() == b.get().columns());
  for (column_index c = 0; c < b.get().columns(); ++c) {
    CAPTURE(b.get().name(c));
    CHECK((*row)[c].name == b.get().name(c));
    CHECK(same(cell_of((*row)[c]), b.get().at(c, 0)));
  }
}

TEST_CASE("a value that is stored elsewhere keeps its kind and its place") {
  testing::fake_host host;
  const auto b = host.make_batch({{"value", {bytes_cell("long")}}, {"offset", {int_cell(7)}}});
  std::string json;
  append_stored_row(json, b.get(), 0, [](column_index c) { return c == 0; });
  CHECK(json == R"({"offset":7,"$kinds":{"value":"bytes","offset":"int"}})");
  const auto row = parse_stored_row(json);
  REQUIRE(row);
  CHECK((*row)[0].name == "value");
  CHECK((*row)[0].kind == PL_BYTES);
  CHECK_FALSE((*row)[0].present);
  CHECK((*row)[1].number == 7);
}

TEST_CASE("what is not a stored row is not read") {
  for (const auto* json : {
           "", "[]", "null", "{}", R"({"a":1})",                        // as stored by earlier versions
           R"({"a":1,"$kinds":{"a":"number"}})",                        // unknown kind
           R"({"a":1.5,"$kinds":{"a":"int"}})",                         // not of its kind
           R"({"a":9223372036854775808,"$kinds":{"a":"int"}})",         // out of range
           R"({"a":"yesterday","$kinds":{"a":"time"}})",                //
           R"({"a":1,"$kinds":{"a":"bool"}})",                          //
           R"({"a":"\ud800","$kinds":{"a":"text"}})",                   //
           R"({"a":1,"$kinds":{"a":"null"}})",                          //
           R"({"a":1,"$kinds":{}})", R"({"a":1,"$kinds":["a","int"]})"  //
       }) {
    CAPTURE(json);
    CHECK_FALSE(parse_stored_row(json));
  }
}

TEST_CASE("a copy of a row has its number, which a column of that name hides") {
  testing::fake_host host;
  const auto b = host.make_batch({{"a", {int_cell(1)}}});
  std::string first, second;
  append_stored_row(first, b.get(), 0, nothing);
  append_stored_row(second, b.get(), 0, nothing, 12);
  CHECK(second == R"({"a":1,"$copy":12,"$kinds":{"a":"int"}})");
  CHECK(copy_number(first) == 0);
  CHECK(copy_number(second) == 12);
  CHECK(copy_number(R"({"$copy":"x","$kinds":{"a":"int"}})") == 0);
  CHECK(copy_number("[]") == 0);
  const auto row = parse_stored_row(second);
  REQUIRE(row);
  CHECK(row->size() == 1);

  const auto named = host.make_batch({{"$copy", {int_cell(5)}}});
  std::string json;
  append_stored_row(json, named.get(), 0, nothing, 1);
  CHECK(json == R"({"$copy":5,"$kinds":{"$copy":"int"}})");
  CHECK(copy_number(json) == 0);
  CHECK(parse_stored_row(json)->front().number == 5);
}
