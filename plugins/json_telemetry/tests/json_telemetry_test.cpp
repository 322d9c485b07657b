// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

using namespace pl::testing;
using namespace json_telemetry::testing;
using namespace std::string_literals;

namespace {

constexpr const char* good =
    R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z","temperature":21.5})";
constexpr const char* good_row =
    R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7","temperature":21.5})";

// Return a good message with these members added.
std::string with(const std::string& members) {
  return R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z",)" + members + "}";
}
std::string row_with(const std::string& members) {
  return R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7",)" + members + "}";
}
std::string at_time(const std::string& value) {
  return R"({"user_id":"u1","device_id":"d7","temperature":21.5,"timestamp":)" + value + "}";
}
std::string row_at(const std::string& time) {
  return R"({"time":")" + time + R"(","user_id":"u1","device_id":"d7","temperature":21.5})";
}

// Check that the bad message is rejected with a reason that contains `part`, and that its neighbours become rows.
void is_refused(harness& h, const std::string& bad, std::string_view part) {
  const auto rows = h.read(std::vector<std::string>{good, bad, good});
  CAPTURE(bad.substr(0, 200));
  CHECK(rows == std::vector<std::string>{good_row, good_row});
  const auto rejects = h.host.rejects();
  REQUIRE(rejects.size() == 1);
  const auto& reject = rejects[0];
  CHECK(reject.position == 101);
  CHECK(reject.stream == "topic/0");
  CHECK_MESSAGE(reject.reason.find(part) != std::string::npos, reject.reason);
  CHECK(reject.reason.size() < 500);
  CHECK(h.output().position(0) == 100);
  CHECK(h.output().position(1) == 102);
}

config_value columns(std::vector<config_value> all) { return list(std::move(all)); }

}  // namespace

// ------------------------------------------------------------------------------------------------ without any option ---

TEST_CASE("common telemetry needs no option") {
  harness h;
  CHECK(h.one(good) == good_row);
  CHECK(
      h.one(
          R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z","temperature":21.5,"humidity":40.2,"pressure":1013,"battery":0.5})") ==
      R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7","temperature":21.5,"humidity":40.2,"pressure":1013,"battery":0.5})");
  CHECK(h.one(R"({"deviceId":"d7","userId":"u1","ts":1795543200000,"temperature":21.5})") == good_row);
  CHECK(h.one(R"({"deviceID":"d7","userID":"u1","time":1795543200,"temperature":21.5})") == good_row);
  CHECK(
      h.one(
          R"({"device":{"id":"d7"},"user":{"id":"u1"},"@timestamp":"2026-11-24T19:00:00+01:00","temperature":21.5})") ==
      good_row);
  CHECK(h.one(R"({"device":"d7","user":"u1","ts":1795543200.0,"metrics":{"temperature":21.5}})") == good_row);
  for (const std::string nest : {"metrics", "data", "readings", "measurements"})
    CHECK(h.one(R"({"device_id":"d7","user_id":"u1","ts":1795543200,")"s + nest + R"(":{"temperature":21.5}})") ==
          good_row);
  CHECK(h.one(R"({"data":{"device_id":"d7","user_id":"u1","ts":1795543200,"temperature":21.5}})") == good_row);
  CHECK(h.one("\n { \"user_id\" : \"u1\" "
              ",\t\"device_id\":\"d7\",\"timestamp\":\"2026-11-24T18:00:00Z\",\"temperature\" :\r\n21.5 } \n") ==
        good_row);
  CHECK(h.one(R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z"})") ==
        R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7"})");
}

TEST_CASE("unmapped fields are kept in their original text") {
  harness h;
  CHECK(
      h.one(with(R"("temperature":21.5,"co2":412.50,"meta":{ "fw" : "1.4" , "n":[1, 2]},"on":true,"x":null)")) ==
      row_with(R"("temperature":21.5,"extra":{"co2":412.50,"meta":{ "fw" : "1.4" , "n":[1, 2]},"on":true,"x":null})"));
  CHECK(h.one(with(R"("a":9007199254740993,"b":18446744073709551616,"c":1e400,"d":1E-400,"e":-0,"f":)" +
                   std::string(400, '9'))) ==
        row_with(R"("extra":{"a":9007199254740993,"b":18446744073709551616,"c":1e400,"d":1E-400,"e":-0,"f":)" +
                 std::string(400, '9') + "}"));
  CHECK(h.one(with(R"("note":"tab\t \u00e9 \ud83d\ude00 \/","\u0061b":1)")) ==
        row_with(R"("extra":{"note":"tab\t \u00e9 \ud83d\ude00 \/","\u0061b":1})"));
  CHECK(h.one(with(R"("metrics":{"temperature":21.5,"co2":400,"deep":{"x":1}},"z":1)")) ==
        row_with(R"("temperature":21.5,"extra":{"metrics":{"co2":400,"deep":{"x":1}},"z":1})"));
  CHECK(h.one(with(R"("metrics":{"temperature":21.5},"data":{"humidity":1,"device":{"id":"d9","rev":2}})")) ==
        row_with(R"("temperature":21.5,"humidity":1,"extra":{"data":{"device":{"id":"d9","rev":2}}})"));
  CHECK(h.one(with(R"("metrics":[1,2],"data":5,"user":null)")) == row_with(R"("extra":{"metrics":[1,2],"data":5})"));
  harness off(config_fields{{"extra", "off"}});
  CHECK(off.one(with(R"("temperature":21.5,"co2":412)")) == good_row);
  CHECK(off.output().columns() == 7);
  harness other(config_fields{{"extra", "rest"}});
  CHECK(other.one(with(R"("co2":412)")) == row_with(R"("rest":{"co2":412})"));
}

TEST_CASE("of several fields for one column the preferred one is used, and the others are kept in extra") {
  harness h;
  // timestamp is preferred to ts, in any order
  CHECK(h.one(R"({"ts":5,"user_id":"u1","device_id":"d7","temperature":21.5,"timestamp":"2026-11-24T18:00:00Z"})") ==
        row_with(R"("temperature":21.5,"extra":{"ts":5})"));
  CHECK(h.one(with(R"("temperature":21.5,"ts":5,"x":1)")) == row_with(R"("temperature":21.5,"extra":{"ts":5,"x":1})"));
  CHECK(h.one(with(R"("metrics":{"temperature":99},"temperature":21.5)")) ==
        row_with(R"("temperature":21.5,"extra":{"metrics":{"temperature":99}})"));
  CHECK(h.one(with(R"("temperature":null,"metrics":{"temperature":21.5})")) == good_row);
}

// ---------------------------------------------------------------------------------------------------------- bad input ---

TEST_CASE("invalid JSON is rejected, and the other messages become rows") {
  harness h;
  is_refused(h, "hello", "not JSON: at offset 0: expected a value, found \"h\"");
  is_refused(h, "", "the payload is empty");
  is_refused(h, "  \n ", "only white space");
  is_refused(h, with("\"a\":1") + with("\"a\":1"), "one message is one document");
  is_refused(h, with("\"a\":1,"), "an extra comma");
  is_refused(h, with("\"a\":1 /* c */"), "no comments");
  is_refused(h, "{'user_id':'u1'}", "double quotes only");
  is_refused(h, "\xEF\xBB\xBF"s + good, "byte order mark");
  is_refused(h, "{\0\"\0u\0"s, "UTF-16");
  is_refused(h, with("\"a\":\"\xC3\x28\""), "not valid UTF-8");
  is_refused(h, with("\"\xFF\":1"), "not valid UTF-8");
  is_refused(h, with(R"("a":"\ud800")"), "surrogate");
  is_refused(h, with(R"("temperature":NaN)"), "NaN and Infinity are not JSON values");
  is_refused(h, with(R"("temperature":-Infinity)"), "NaN and Infinity are not JSON values");
  is_refused(h, with(R"("temperature":021)"), "leading zeros");
  is_refused(h, with(R"("temperature":0x1F)"), "hexadecimal");
  is_refused(h, "[" + std::string(good) + ",]", "an extra comma");
  is_refused(h, "[" + std::string(good) + "]]", "expected the end of the document");
  const std::string whole = good;
  for (std::size_t n = 1; n < whole.size(); ++n) is_refused(h, whole.substr(0, n), "ends too early");
}

TEST_CASE("limits") {
  harness h;
  is_refused(h, with("\"a\":" + std::string(10'000, '[') + std::string(10'000, ']')), "deeper than max_depth (32)");
  is_refused(h, with("\"a\":\"" + std::string(10 << 20, 'x') + "\""), "more than max_size (1048576)");
  std::string keys = "{";
  for (int i = 0; i < 1'000'000; ++i) keys += "\"k" + std::to_string(i) + "\":0,";
  is_refused(h, keys + "\"z\":0}", "more than max_size");
  harness large(config_fields{{"max_size", pl::byte_size{100 << 20}}});
  is_refused(large, keys + "\"z\":0}", "more keys than max_keys (1000)");
  CHECK(large.one(with("\"a\":\"" + std::string(10 << 20, 'x') + "\"")).size() > std::size_t{10} << 20);
  is_refused(h, R"({"user_id":"u1","device_id":")" + std::string(65'536, 'd') + R"(","ts":1795543200})",
             "'device_id' has 65536 bytes, more than max_id (1024)");
  harness wide(config_fields{{"max_id", pl::byte_size{1 << 20}}});
  CHECK(wide.one(R"({"user_id":"u1","device_id":")" + std::string(65'536, 'd') + R"(","ts":1795543200})").size() >
        65'536);
}

TEST_CASE("duplicate keys") {
  harness h;
  is_refused(h, with(R"("temperature":1,"temperature":2)"), "the key \"temperature\" occurs twice");
  is_refused(h, with(R"("temperature":1,"temp\u0065rature":2)"), "the key \"temperature\" occurs twice");
  is_refused(h, with(R"("a":1,"b":2,"a":3)"), "the key \"a\" occurs twice");
  is_refused(h, with(R"("m":{"a":1,"a":3})"), "the key \"a\" occurs twice");
  is_refused(h, with(R"("metrics":{"x":1,"x":3})"), "the key \"x\" occurs twice");
  is_refused(h, with(R"("metrics":{"temperature":1},"metrics":{"humidity":3})"), "the key \"metrics\" occurs twice");
  CHECK(h.one(with(R"("m":{"a":1},"n":{"a":1},"a":1)")).front() == '{');
  harness last(config_fields{{"duplicate_keys", "last"}});
  CHECK(last.one(with(R"("temperature":1,"temperature":21.5)")) == good_row);
  CHECK(last.one(with(R"("temperature":1,"temperature":null)")) ==
        R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7"})");
}

TEST_CASE("scalars and arrays at the top level") {
  harness h;
  is_refused(h, "5", "the payload is the number 5, neither an object nor an array of objects");
  is_refused(h, "\"abc\"", "the payload is the string \"abc\"");
  is_refused(h, "null", "the payload is null");
  is_refused(h, "true", "the payload is true");
  is_refused(h, "[]", "an array without readings");
  is_refused(h, "[1]", "reading 1: it is the number 1, not an object");
  is_refused(h, "["s + good + ",[]]", "reading 2: it is an array, not an object");
}

TEST_CASE("missing ids and times") {
  harness h;
  is_refused(h, R"({"device_id":"d7","ts":1})",
             "'user_id' is missing or null; looked for: user_id, userId, userID, user.id, user, metrics.user_id, ...");
  is_refused(h, R"({"user_id":"u1","device_id":null,"ts":1})", "'device_id' is missing or null");
  is_refused(h, R"({"user_id":"u1","device_id":"","ts":1})", "'device_id' is an empty text");
  is_refused(h, R"({"user_id":"u1","device_id":"d7"})",
             "'time' is missing; to use the time of the message, set time.missing: message_time");
  is_refused(h, R"({"user_id":"u1","device_id":"d7","ts":null})", "'time' is missing");
  is_refused(h, R"({"user_id":{"a":1},"device_id":"d7","ts":1})", "'user_id' is an object: not a string");
  is_refused(h, R"({"user_id":["u1"],"device_id":"d7","ts":1})", "'user_id' is an array: not a string");
  is_refused(h, R"({"user_id":true,"device_id":"d7","ts":1})", "'user_id' is true: not a string");
  is_refused(h, R"({"user_id":1.5,"device_id":"d7","ts":1})", "'user_id' is the number 1.5: not a string");
  CHECK(h.one(R"({"user_id":12345678901234567890123,"device_id":7,"ts":1795543200,"temperature":21.5})") ==
        R"({"time":"2026-11-24T18:00:00Z","user_id":"12345678901234567890123","device_id":"7","temperature":21.5})");
}

TEST_CASE("ids are kept unchanged") {
  harness h;
  for (const auto& id : std::vector<std::pair<std::string, std::string>>{{"a b", "a b"},
                                                                         {R"(say \"hi\")", "say \"hi\""},
                                                                         {R"(a\tb\nc)", "a\tb\nc"},
                                                                         {R"(back\\slash)", "back\\slash"},
                                                                         {R"(\\.)", "\\."},
                                                                         {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
                                                                         {R"(\ud83d\ude00)", "\xF0\x9F\x98\x80"},
                                                                         {"a/b+c#d$", "a/b+c#d$"},
                                                                         {"'; DROP TABLE x; --", "'; DROP TABLE x; --"},
                                                                         {" ", " "},
                                                                         {R"(\u0001)", "\x01"}}) {
    const auto& written = id.first;
    CAPTURE(written);
    const auto got = h.one(R"({"user_id":"u1","device_id":")" + written + R"(","ts":1795543200})");
    REQUIRE(got.front() == '{');
    CHECK(pl::bytes_of(h.output().at(*h.output().find("device_id"), 0)) == id.second);
  }
}

TEST_CASE("NUL in strings") {
  harness h;
  is_refused(h, R"({"user_id":"u\u0000","device_id":"d7","ts":1})",
             "'user_id' contains \\u0000, which PostgreSQL cannot store");
  is_refused(h, with(R"("note":"a\u0000b")"), "the field \"note\" contains \\u0000");
  is_refused(h, with(R"("m":{"k":["\u0000"]})"), "the field \"m\" contains \\u0000");
  is_refused(h, with(R"("a\u0000":1)"), "contains \\u0000");
  is_refused(h, with("\"a\":\"x\0y\""s), "control character");
  harness strip(config_fields{{"nul", "strip"}});
  CHECK(
      strip.one(
          R"({"user_id":"u\u00001","device_id":"d7","ts":1795543200,"note":"a\u0000b\\u0000","m":["\u0000"],"k\u0000":1})") ==
      R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7","extra":{"note":"ab\\u0000","m":[""],"k":1}})");
  is_refused(strip, R"({"user_id":"\u0000","device_id":"d7","ts":1})", "'user_id' is an empty text");
  harness keep(config_fields{{"nul", "keep"}});
  CHECK(keep.one(with(R"("note":"a\u0000b")")) == row_with(R"("extra":{"note":"a\u0000b"})"));
  harness off(config_fields{{"extra", "off"}});
  CHECK(off.one(with(R"("temperature":21.5,"note":"a\u0000b")")) == good_row);
}

// ------------------------------------------------------------------------------------------------------------ numbers ---

TEST_CASE("numbers in a float column") {
  harness h;
  const auto temperature = [&](const std::string& text) -> pl::cell {
    const auto got = h.one(with("\"temperature\":" + text));
    CAPTURE(text);
    REQUIRE_MESSAGE(got.front() == '{', got);
    return h.output().at(*h.output().find("temperature"), 0);
  };
  CHECK(temperature("21").kind == PL_F64);
  CHECK(temperature("21").as.f == 21.0);
  CHECK(temperature("9007199254740992").as.f == 9007199254740992.0);
  CHECK(temperature("9223372036854775808").as.f == 9223372036854775808.0);
  CHECK(temperature("18446744073709551616").as.f == 18446744073709551616.0);
  CHECK(temperature("0.1").as.f == 0.1);
  CHECK(temperature("1.7976931348623157e308").as.f == 1.7976931348623157e308);
  CHECK(std::signbit(temperature("-0").as.f));
  CHECK(std::signbit(temperature("-0.0").as.f));
  CHECK(temperature("null").kind == PL_NULL);
  is_refused(h, with(R"("temperature":9007199254740993)"),
             "'temperature' is the number 9007199254740993: a 64-bit float would round this integer; to keep it exact, "
             "set 'type: int' or 'type: text'");
  is_refused(h, with(R"("temperature":18446744073709551617)"), "would round this integer");
  is_refused(h, with(R"("temperature":1e400)"), "'temperature' is the number 1e400: larger than any 64-bit float");
  is_refused(h, with("\"temperature\":" + std::string(400, '9')), "(400 characters): larger than any 64-bit float");
  is_refused(h, with(R"("temperature":1E-400)"), "so small that a 64-bit float would round it to 0");
  is_refused(h, with(R"("temperature":"abc")"), "'temperature' is the string \"abc\": not a number");
  is_refused(h, with(R"("temperature":"21.5")"),
             "'temperature' is the string \"21.5\": not a number; to accept it, set 'coerce: lenient'");
  is_refused(h, with(R"("temperature":true)"), "'temperature' is true: not a number");
  is_refused(h, with(R"("temperature":{"value":70,"unit":"F"})"), "'temperature' is an object: not a number");
  is_refused(h, with(R"("temperature":[21.5])"), "'temperature' is an array: not a number");
  is_refused(h, with(R"("temperature":"")"), "'temperature' is the string \"\": not a number");
}

TEST_CASE("lenient columns convert between numbers, strings and bools") {
  harness h(config_fields{{"coerce", "lenient"}});
  CHECK(h.one(with(R"("temperature":"21.5")")) == good_row);
  CHECK(h.one(with(R"("temperature":"2.15e1")")) == good_row);
  CHECK(h.one(with(R"("temperature":9007199254740993)")) == row_with(R"("temperature":9007199254740992)"));
  CHECK(h.one(with(R"("temperature":1E-400)")) == row_with(R"("temperature":0)"));
  is_refused(h, with(R"("temperature":"0x1F")"), "not a number");
  is_refused(h, with(R"("temperature":"NaN")"), "not a number");
  is_refused(h, with(R"("temperature":" 21.5")"), "not a number");
  is_refused(h, with(R"("temperature":"1e400")"), "larger than any 64-bit float");
  is_refused(h, with(R"("temperature":true)"), "not a number");
}

TEST_CASE("columns of each type") {
  const auto with_types = [](const char* coerce) {
    return harness(config_fields{
        {"coerce", coerce},
        {"metrics", list({})},
        {"columns", columns({object({{"name", "i"}, {"type", "int"}}), object({{"name", "t"}, {"type", "text"}}),
                             object({{"name", "b"}, {"type", "bool"}}), object({{"name", "j"}, {"type", "json"}}),
                             object({{"name", "at"}, {"type", "time"}}), object({{"name", "f"}})})}});
  };
  auto strict = with_types("strict");
  const auto one = [](harness& h, const std::string& members) {
    const auto got = h.one(with(members));
    const std::string prefix = R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7",)";
    return got.starts_with(prefix) ? got.substr(prefix.size()) : got;
  };
  CHECK(one(strict, R"("i":9007199254740993,"t":"x\n","b":true,"j":{"a": [1, 2]},"at":1795543200,"f":0.5)") ==
        R"("i":9007199254740993,"t":"x\n","b":true,"j":{"a": [1, 2]},"at":"2026-11-24T18:00:00Z","f":0.5})");
  CHECK(one(strict, R"("i":-9223372036854775808,"b":false,"j":"x")") ==
        R"("i":-9223372036854775808,"b":false,"j":"x"})");
  CHECK(one(strict, R"("i":2e3,"j":1e400)") == R"("i":2000,"j":1e400})");
  CHECK(one(strict, R"("i":9223372036854775808)") ==
        "['i' is the number 9223372036854775808: outside the range of a 64-bit integer]");
  CHECK(one(strict, R"("i":1.5)") == "['i' is the number 1.5: not a whole number]");
  CHECK(one(strict, R"("i":"5")") ==
        "['i' is the string \"5\": not a whole number; to accept it, set 'coerce: lenient']");
  CHECK(one(strict, R"("t":5)") == "['t' is the number 5: not a string; to accept it, set 'coerce: lenient']");
  CHECK(one(strict, R"("t":true)") == "['t' is true: not a string]");
  CHECK(one(strict, R"("b":1)") ==
        "['b' is the number 1: neither true nor false; to accept it, set 'coerce: lenient']");
  CHECK(one(strict, R"("b":"yes")") == "['b' is the string \"yes\": neither true nor false]");
  CHECK(one(strict, R"("at":"later")").find("['at' is the string \"later\": not a time") == 0);
  CHECK(one(strict, R"("j":"\u0000")").find("['j' contains \\u0000") == 0);
  auto lenient = with_types("lenient");
  CHECK(one(lenient, R"("i":"9007199254740993","t":1.50,"b":1)") == R"("i":9007199254740993,"t":"1.50","b":true})");
  CHECK(one(lenient, R"("b":"false")") == R"("b":false})");
  CHECK(one(lenient, R"("i":"1.5")") == "['i' is the string \"1.5\": not a whole number]");
}

TEST_CASE("paths, defaults, required columns and overrides") {
  harness h(config_fields{
      {"metrics", list({"temperature"})},
      {"columns", columns({object({{"name", "temperature"}, {"from", list({"t", "sensors.temp"})}, {"required", true}}),
                           object({{"name", "fw"}, {"type", "text"}, {"from", list({"meta.fw"})}, {"default", "none"}}),
                           object({{"name", "lon"}, {"from", list({"pos.coordinates[0]"})}}),
                           object({{"name", "lat"}, {"from", list({"pos.coordinates[1]"})}}),
                           object({{"name", "whole"}, {"type", "json"}, {"from", list({"meta"})}}),
                           object({{"name", "dotted"}, {"from", list({"a\\.b"})}})})}});
  CHECK(
      h.one(with(
          R"("sensors":{"temp":21.5},"meta":{"fw":"1.4"},"a.b":7,"pos":{"type":"Point","coordinates":[11.5,48.1]})")) ==
      row_with(
          R"("temperature":21.5,"fw":"1.4","lon":11.5,"lat":48.1,"whole":{"fw":"1.4"},"dotted":7,"extra":{"pos":{"type":"Point","coordinates":[11.5,48.1]}})"));
  CHECK(h.one(with(R"("t":1)")) == row_with(R"("temperature":1,"fw":"none")"));
  CHECK(h.one(with(R"("temperature":1)")).find("['temperature' is missing or null; looked for: t, sensors.temp]") == 0);
  CHECK(h.one(with(R"("t":1,"pos":{"coordinates":[1]})")) ==
        row_with(R"("temperature":1,"fw":"none","lon":1,"extra":{"pos":{"coordinates":[1]}})"));
  CHECK(h.one(with(R"("t":1,"pos":{"coordinates":[{"x":1},"a"]})")).find("['lon' is an object: not a number]") == 0);
}

TEST_CASE("units") {
  harness h(config_fields{{"columns", columns({object({{"name", "temperature"},
                                                       {"from", list({"temperature.value"})},
                                                       {"unit", object({{"from", list({"temperature.unit"})},
                                                                        {"accept", list({"C",
                                                                                         "\xC2\xB0"
                                                                                         "C"})}})}})})}});
  CHECK(h.one(with(R"("temperature":{"value":21.5,"unit":"C"})")) == good_row);
  CHECK(h.one(with(R"("temperature":{"value":21.5,"unit":"\u00b0C"})")) == good_row);
  CHECK(h.one(with(R"("temperature":{"value":21.5})")) == good_row);
  CHECK(h.one(with(R"("temperature":{"value":21.5,"unit":null})")) == good_row);
  CHECK(h.one(with(R"("temperature":{"value":70,"unit":"F"})")) ==
        "['temperature' is in the unit \"F\": expected C, \xC2\xB0"
        "C]");
  CHECK(h.one(with(R"("temperature":{"value":70,"unit":5})")).find("in the unit \"5\"") != std::string::npos);
}

TEST_CASE("values that do not fit can go to extra") {
  harness h(config_fields{{"invalid", "extra"}});
  CHECK(h.one(with(R"("temperature":"n/a","humidity":40)")) ==
        row_with(R"("humidity":40,"extra":{"temperature":"n/a"})"));
  CHECK(h.one(with(R"("metrics":{"temperature":true,"humidity":40,"x":1},"pressure":1e400)")) ==
        row_with(R"("humidity":40,"extra":{"metrics":{"temperature":true,"x":1},"pressure":1e400})"));
  CHECK(h.host.sum("json_unfit_values_total") == 3);
  CHECK(h.one(R"({"user_id":true,"device_id":"d7","ts":1,"temperature":1})") == "['user_id' is true: not a string]");
}

// -------------------------------------------------------------------------------------------------------------- times ---

TEST_CASE("times in all their forms") {
  harness h;
  const auto expected = row_at("2026-11-24T18:00:00Z");
  for (const std::string same :
       {"1795543200", "1795543200000", "1795543200000000", "1795543200000000000", "1795543200.0", "\"1795543200\"",
        "\"1795543200000\"", "\"2026-11-24T18:00:00Z\"", "\"2026-11-24T18:00:00\"", "\"2026-11-24T19:00:00+01:00\"",
        "\"2026-11-24 18:00:00,000\"", "\"2026-11-24T18\\u003a00:00Z\""})
    CHECK_MESSAGE(h.one(at_time(same)) == expected, same);
  CHECK(h.one(at_time("1795543200.123456789")) == row_at("2026-11-24T18:00:00.123456789Z"));
  CHECK(h.one(at_time("\"2016-12-31T23:59:60Z\"")) == row_at("2017-01-01T00:00:00Z"));
  CHECK(h.one(at_time("-1")) == row_at("1969-12-31T23:59:59Z"));
  for (const std::string far :
       {"\"0001-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\"", "\"294277-01-01T00:00:00Z\"", "1e30"})
    is_refused(h, at_time(far), "outside the years 1677 to 2262");
  is_refused(h, at_time("\"NaN\""),
             "'time' is the string \"NaN\": not a time: expected ISO 8601 (2026-11-24T18:00:00Z) or a number");
  is_refused(h, at_time("NaN"), "NaN and Infinity are not JSON values");
  is_refused(h, at_time("true"), "'time' is true: not a time: expected a string or a number");
  is_refused(h, at_time("{}"), "'time' is an object");
  is_refused(h, at_time("\"\""), "an empty text");
  is_refused(h, at_time("\"2026-02-30T00:00:00Z\""), "not a valid date");
}

TEST_CASE("declared units and zones") {
  harness ms(config_fields{{"time", object({{"from", list({"t"})}, {"unit", "ms"}, {"column", "at"}})}});
  CHECK(ms.one(R"({"user_id":"u1","device_id":"d7","t":86400000})") ==
        R"({"at":"1970-01-02T00:00:00Z","user_id":"u1","device_id":"d7"})");
  CHECK(ms.one(R"({"user_id":"u1","device_id":"d7","t":"2026-11-24"})")
            .find("'at' is the string \"2026-11-24\": not a number, which time.unit requires") != std::string::npos);
  harness east(config_fields{{"time", object({{"zone", "+05:30"}})}});
  CHECK(east.one(at_time("\"2026-11-24T18:00:00\"")) == row_at("2026-11-24T12:30:00Z"));
  harness none(config_fields{{"time", object({{"zone", "reject"}})}});
  CHECK(none.one(at_time("\"2026-11-24T18:00:00\"")).find("without a zone") != std::string::npos);
}

TEST_CASE("records without a time can use the time of their message") {
  harness h(config_fields{{"time", object({{"missing", "message_time"}})}});
  const std::string payload = R"({"user_id":"u1","device_id":"d7","temperature":21.5})";
  CHECK(h.one({{"value", {pl::bytes_cell(payload)}}, {"time", {pl::time_cell(1795543200'000'000'000)}}}) == good_row);
  CHECK(h.host.sum("json_message_times_total") == 1);
  CHECK(h.one({{"value", {pl::bytes_cell(payload)}}, {"time", {pl::null_cell()}}}) ==
        "['time' is missing, and the message has no time either]");
  CHECK(h.one({{"value", {pl::bytes_cell(payload)}}}) == "['time' is missing, and the message has no time either]");
  CHECK(h.one({{"value", {pl::bytes_cell(good)}}, {"time", {pl::time_cell(5)}}}) == good_row);
}

TEST_CASE("times outside the window are rejected") {
  harness h(config_fields{{"time_window", object({{"past", std::chrono::nanoseconds(std::chrono::hours(24))},
                                                  {"future", std::chrono::nanoseconds(std::chrono::hours(1))},
                                                  {"around", "message_time"}})}});
  const auto at = [&](const std::string& time) {
    const auto payload = at_time("\"" + time + "\"");
    return h.one({{"value", {pl::bytes_cell(payload)}}, {"time", {pl::time_cell(1795543200'000'000'000)}}});
  };
  CHECK(at("2026-11-24T18:00:00Z") == row_at("2026-11-24T18:00:00Z"));
  CHECK(at("2026-11-23T18:00:00Z") == row_at("2026-11-23T18:00:00Z"));
  CHECK(at("2026-11-24T19:00:00Z") == row_at("2026-11-24T19:00:00Z"));
  CHECK(at("2026-11-23T17:59:59.999999999Z") ==
        "['time' is 2026-11-23T17:59:59.999999999Z: older than time_window.past (1d)]");
  CHECK(at("2026-11-24T19:00:00.000000001Z") ==
        "['time' is 2026-11-24T19:00:00.000000001Z: further ahead than time_window.future (1h)]");
  CHECK(at("1677-09-21T00:12:44Z").find("older than") != std::string::npos);
  CHECK(at("2262-04-11T23:47:16Z").find("further ahead") != std::string::npos);
  // By default the window refers to the clock.
  harness clock(config_fields{{"time_window", object({})}});
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  CHECK(clock.one(at_time(std::to_string(s))).front() == '{');
  CHECK(clock.one(at_time(std::to_string(s - 3649LL * 86'400))).front() == '{');
  CHECK(clock.one(at_time(std::to_string(s - 3651LL * 86'400))).find("older than time_window.past (3650d)") !=
        std::string::npos);
  CHECK(clock.one(at_time(std::to_string(s + 2LL * 86'400))).find("further ahead than time_window.future (1d)") !=
        std::string::npos);
  CHECK(clock.one(at_time("0")).find("older than") != std::string::npos);
}

// ----------------------------------------------------------------------------------------------------- readings, ids ---

TEST_CASE("each element of an array is a record, and all have the same position") {
  harness h;
  const auto rows = h.read(std::vector<std::string>{
      good, "["s + good + "," + with("\"temperature\":1") + "," + with("\"temperature\":2") + "]", good});
  CHECK(rows == std::vector<std::string>{good_row, good_row, row_with("\"temperature\":1"),
                                         row_with("\"temperature\":2"), good_row});
  CHECK(h.output().position(1) == 101);
  CHECK(h.output().position(3) == 101);
  CHECK(h.output().position(4) == 102);
  CHECK(h.output().stream(4) == "topic/0");
  CHECK(h.output().ranges().size() == 1);
  CHECK(h.host.rejects().empty());
}

TEST_CASE("one bad reading rejects the whole message") {
  harness h;
  is_refused(h, "["s + good + "," + with("\"temperature\":\"x\"") + "]",
             "reading 2: 'temperature' is the string \"x\"");
  is_refused(h, "["s + good + "," + good, "ends too early");
  CHECK(h.host.sum("json_times_total{unit=iso8601}") == 4);
}

TEST_CASE("readings inside an object inherit the fields around them") {
  harness h;
  CHECK(
      h.one(
          R"({"user_id":"u1","device_id":"d7","fw":"1.4","readings":[{"ts":1795543200,"temperature":21.5},{"ts":1795543201,"temperature":22,"co2":400,"device_id":"d8"}]})") ==
      R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7","temperature":21.5,"extra":{"fw":"1.4"}})"
      "\n"
      R"({"time":"2026-11-24T18:00:01Z","user_id":"u1","device_id":"d8","temperature":22,"extra":{"fw":"1.4","co2":400}})");
  // The readings inherit the fields after the array, too.
  CHECK(
      h.one(
          R"({"readings":[{"temperature":21.5},{"temperature":null}],"device_id":"d7","user_id":"u1","ts":1795543200,"temperature":1})") ==
      good_row + "\n"s + row_with("\"temperature\":1"));
  CHECK(h.one(R"({"user_id":"u1","device_id":"d7","ts":1795543200,"temperature":21.5,"readings":[]})") ==
        row_with(R"("temperature":21.5,"extra":{"readings":[]})"));
  CHECK(h.one(R"({"user_id":"u1","device_id":"d7","ts":1795543200,"readings":[1,2]})") ==
        row_with(R"("extra":{"readings":[1,2]})"));
  CHECK(h.one(R"({"user_id":"u1","ts":1795543200,"readings":[{"device_id":"d7"},{"a":1}]})")
            .find("[reading 2: 'device_id' is missing") == 0);
  CHECK(
      h.one(
          R"({"user_id":"u1","device_id":"d7","timestamp":1,"ts":5,"readings":[{"ts":1795543200,"readings":[{"x":1}]}]})") ==
      row_with(R"("extra":{"ts":5,"readings":[{"x":1}]})"));
  CHECK(h.one(R"({"user_id":"u1","device_id":"d7","ts":1795543200,"readings":[{"a":1,"a":2}]})") ==
        "[the key \"a\" occurs twice in one object]");
  harness other(config_fields{{"readings", list({"batch.items"})}});
  CHECK(other.one(
            R"({"user_id":"u1","device_id":"d7","batch":{"n":2,"items":[{"ts":1795543200,"temperature":21.5}]}})") ==
        row_with(R"("temperature":21.5,"extra":{"batch":{"n":2}})"));
}

TEST_CASE("many readings grow the batch") {
  harness h;
  std::string array = "[";
  for (int i = 0; i < 5000; ++i) array += (i ? "," : "") + with("\"temperature\":" + std::to_string(i));
  const auto rows = h.read(std::vector<std::string>{good, array + "]", good});
  REQUIRE(rows.size() == 5002);
  for (int i = 0; i < 5000; ++i)
    CHECK(rows[static_cast<std::size_t>(i) + 1] == row_with("\"temperature\":" + std::to_string(i)));
  CHECK(rows[5001] == good_row);
  CHECK(h.host.violations().empty());
}

TEST_CASE("ids from topic and key") {
  harness h(config_fields{{"ids_from", object({{"topic", "users/{user_id}/devices/{device_id}/telemetry"},
                                               {"key", "{user_id}:{device_id}"}})}});
  const std::string payload = R"({"ts":1795543200,"temperature":21.5})";
  const auto read = [&](const std::string& topic, const std::string& key, const std::string& value) {
    return h.one(
        {{"value", {pl::bytes_cell(value)}}, {"topic", {pl::text_cell(topic)}}, {"key", {pl::bytes_cell(key)}}});
  };
  CHECK(read("users/u1/devices/d7/telemetry", "", payload) == good_row);
  CHECK(read("telemetry", "u1:d7", payload) == good_row);
  CHECK(read("users/u1/devices/d7/telemetry", "u2:d9", payload) == good_row);
  CHECK(read("telemetry", "u1", payload).find("'user_id' is missing") != std::string::npos);
  CHECK(read("telemetry", "", payload).find("'user_id' is missing") != std::string::npos);
  CHECK(read("telemetry", "u1:\xFF", payload) == "['device_id' in the topic or key is \"\\xFF\": not a valid text]");
  CHECK(read("telemetry", "u1:\0d"s, payload).find("not a valid text") != std::string::npos);
  CHECK(read("users/u1/devices/" + std::string(2000, 'd') + "/telemetry", "", payload).find("more than max_id") !=
        std::string::npos);
  CHECK(read("users/u1/devices/d7/telemetry", "", good) == good_row);
  CHECK(
      read("users/u1/devices/d8/telemetry", "", good) ==
      "['device_id' is \"d7\" in the payload and \"d8\" in the message's topic or key; ids_from.conflict selects which "
      "one to use]");
  CHECK(h.one(payload).find("'user_id' is missing") != std::string::npos);
  for (const auto& [conflict, id] :
       std::vector<std::pair<std::string, std::string>>{{"payload", "d7"}, {"path", "d8"}}) {
    harness other(config_fields{{"ids_from", object({{"topic", "devices/{device_id}"}, {"conflict", conflict}})}});
    const auto got = other.one({{"value", {pl::bytes_cell(good)}}, {"topic", {pl::text_cell("devices/d8")}}});
    CHECK(got.find("\"device_id\":\"" + id + "\"") != std::string::npos);
  }
}

TEST_CASE("messages without a payload") {
  harness h;
  CHECK(h.one({{"value", {pl::null_cell()}}}).find("[there is no payload (a tombstone") == 0);
  CHECK(h.one({{"value", {pl::int_cell(1)}}}) == "[column 'value' contains neither bytes nor text nor JSON]");
  CHECK(h.one({{"value", {pl::text_cell(good)}}}) == good_row);
  CHECK(h.one({{"value", {pl::json_cell(good)}}}) == good_row);
  harness skip(config_fields{{"tombstones", "skip"}});
  CHECK(skip.one({{"value", {pl::null_cell()}}}).empty());
  CHECK(skip.host.sum("json_tombstones_total") == 1);
  CHECK(skip.output().ranges().size() == 1);
  for (const auto& empty : {pl::bytes_cell(""), pl::text_cell("")}) CHECK(skip.one({{"value", {empty}}}).empty());
  CHECK(skip.host.sum("json_tombstones_total") == 3);
  CHECK(skip.host.rejects().empty());
  CHECK_FALSE(skip.one({{"value", {pl::bytes_cell(" ")}}}).empty());
  CHECK_FALSE(h.one({{"value", {pl::bytes_cell("")}}}).empty());
}

TEST_CASE("input columns can be kept") {
  harness h(config_fields{{"keep", list({"topic", "offset", "headers"})}});
  const auto bytes = pl::bytes_cell(good);
  CHECK(h.read({{"value", {bytes, pl::bytes_cell("x"), bytes}},
                {"topic", {pl::text_cell("a"), pl::text_cell("b"), pl::text_cell("c")}},
                {"offset", {pl::int_cell(1), pl::int_cell(2), pl::int_cell(3)}}}) ==
        std::vector<std::string>{row_with(R"("temperature":21.5,"topic":"a","offset":1)"),
                                 row_with(R"("temperature":21.5,"topic":"c","offset":3)")});
}

TEST_CASE("deselected rows are skipped, and a batch without rows is emitted") {
  harness h;
  fake_host& host = h.host;
  auto whole = host.make_batch({{"value", {pl::bytes_cell("bad"), pl::bytes_cell(good), pl::bytes_cell("bad")}}});
  pl::batch_builder narrowed(&host.raw(), whole.get(), &whole.get().schema(), 3);
  narrowed.share_column(0, whole.get().column(0));
  auto rows = narrowed.allocate<std::uint32_t>(1);
  rows[0] = 1;
  narrowed.select(rows);
  const auto b = std::move(narrowed).finish();
  instance i(host, parser(), {{"time_window", object({{"past", 0}})}});
  REQUIRE(i.create() == PL_OK);
  REQUIRE(i.apply(b.get()) == PL_OK);
  REQUIRE(i.output().size() == 1);
  CHECK(i.output()[0].data.get().selected() == 1);
  CHECK(i.output()[0].data.get().position(0) == 1);
  CHECK(host.rejects().empty());
  CHECK(h.read(std::vector<std::string>{"bad"}).empty());
  CHECK(h.output().rows() == 0);
  CHECK(h.output().ranges()[0].next == 101);
  CHECK(h.host.sum("json_rejects_total{cause=not_json}") == 1);
}

TEST_CASE("a message is read alike, whatever messages were read before it") {
  const std::vector<std::string> messages = {
      good,
      with(R"("metrics":{"humidity":40,"note":"x"},"a":1,"b":{"temperature":3,"c":[1,{"temperature":4}]})"),
      with(R"("temperature":21.5,"humidity":40)"),
      with(R"("humidity":40,"temperature":21.5)"),
      with(R"("a":1,"b":2,"c":3,"d":4,"e":5,"f":6)"),
      with(R"("f":6,"e":5,"d":4,"c":3,"b":2,"a":1)"),
      with(R"("temperature":1,"temperature":2)"),
      with(R"("a":1,"a":2)"),
      with(R"("metrics":{"temperature":1},"temperature":2)"),
      with(R"("temperature" :1, "humidity": 2)"),
      with(R"("\u0074emperature":1,"x":"\u0000")"),
      with(R"("readings":[{"temperature":1,"a":1},{"temperature":2,"b":1},{"humidity":2}],"zone":"z")"),
      R"([{"device_id":"d","user_id":"u","ts":1700000000,"temperature":1},{"device_id":"d","user_id":"u","ts":1700000001}])",
      with(R"("temperature":"warm")"),
      with(R"("battery":)"),
      "{"};
  for (const config_fields& options :
       {config_fields{}, config_fields{{"invalid", "extra"}, {"duplicate_keys", "last"}, {"nul", "strip"}}}) {
    std::vector<std::string> alone;
    for (const auto& m : messages) alone.push_back(harness(options).one(m));
    harness h(options);
    std::mt19937 random(9);
    for (int i = 0; i < 2'000; ++i) {
      const auto n = random() % messages.size();
      CHECK(h.one(messages[n]) == alone[n]);
    }
  }
}

TEST_CASE("the same batch results in the same rows") {
  harness h;
  const std::vector<std::string> payloads = {good, with(R"("ts":5,"x":{"y":1},"metrics":{"temperature":2})"),
                                             "[" + with("\"a\":1") + "]", "bad"};
  const auto first = h.read(payloads);
  for (int i = 0; i < 3; ++i) CHECK(h.read(payloads) == first);
}
