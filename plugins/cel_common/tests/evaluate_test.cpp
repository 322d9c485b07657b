// SPDX-License-Identifier: Apache-2.0
// Tests of results, beyond the conformance cases: columns, null, JSON, the deviation, limits, printing.
#include "harness.hpp"

#include <doctest/doctest.h>

using namespace pl;
using namespace pl::cel;
using namespace pl::cel::testing;

TEST_CASE("columns are variables of their kinds") {
  CHECK(evaluate("temperature") == "21.5");
  CHECK(evaluate("co2") == "400.0");  // declared as double, whatever number the device sent
  CHECK(evaluate("co2 / 3") == "133.33333333333334");
  CHECK(evaluate("count / 2") == "3");  // declared as int
  CHECK(evaluate("ok") == "true");
  CHECK(evaluate("device_id") == "th-17");
  CHECK(evaluate("time") == "2025-11-24T16:00:00Z");
  CHECK(evaluate("key") == "b\"\xC3\xBF\\u0001\"");
  CHECK(evaluate("mixed / 2") == "2");
  CHECK(evaluate("a.b + 1.0") == "4.0");
  CHECK(evaluate("row.`content-type`") == "json");
  CHECK(evaluate("row['content-type']") == "json");
  CHECK(evaluate(".temperature") == "21.5");
}

TEST_CASE("a column that a row does not have is null") {
  CHECK(evaluate("humidity") == "null");
  CHECK(evaluate("humidity == null") == "true");
  CHECK(evaluate("humidity != null") == "false");
  CHECK(evaluate("has(row.humidity)") == "false");
  CHECK(evaluate("has(row.temperature)") == "true");
  CHECK(evaluate("has(row.never)") == "false");
  CHECK(evaluate("'humidity' in row") == "false");
  CHECK(evaluate("'temperature' in row") == "true");
  CHECK(evaluate("has(row.humidity) ? humidity : -1") == "-1.0");
  CHECK(evaluate("humidity > 50") == "error: no such overload: null > int; the column 'humidity' is null, at column 1");
  CHECK(evaluate("humidity > 50 || temperature > 20") == "true");
  CHECK(evaluate("humidity > 50 && temperature > 20").find("error: ") == 0);
  CHECK(evaluate("humidity > 50 && temperature > 30") == "false");
  CHECK(evaluate("humidity == 50.0") == "false");
  CHECK(evaluate("has(a.b)") == "true");
}

TEST_CASE("row is the whole row as a map of what is not null") {
  CHECK(evaluate("size(row)") == "11");
  CHECK(evaluate("row.exists(k, k == 'humidity')") == "false");
  CHECK(evaluate("row.filter(k, k.startsWith('t'))") == "[\"temperature\", \"time\"]");
  CHECK(evaluate("['temperature', 'co2'].map(k, row[k])") == "[21.5, 400]");
  CHECK(evaluate("[1].map(row, row)") == "[1]");  // a variable hides it
}

TEST_CASE("JSON is read as maps, lists and doubles") {
  CHECK(evaluate("data.t.v * 9 / 5 + 32") == "69.8");
  CHECK(evaluate("data.t.u") == "C");
  CHECK(evaluate("data['t']['u'] == 'C'") == "true");
  CHECK(evaluate("data.list.size()") == "4");
  CHECK(evaluate("data.list[1]") == "2.5");
  CHECK(evaluate("data.list[data.list[0]]") == "2.5");
  CHECK(evaluate("data.list.exists(x, x == 'x')") == "true");
  CHECK(evaluate("data.list") == "[1.0, 2.5, \"x\", null]");
  CHECK(evaluate("data.name") == "d\xC3\xA9j\xC3\xA0");
  CHECK(evaluate("data.dup") == "2.0");
  CHECK(evaluate("size(data)") == "6");
  CHECK(evaluate("data.map(k, k)") == R"(["t", "list", "big", "name", "dup", "none"])");
  CHECK(evaluate("data.big") == "9007199254740993");
  CHECK(evaluate("data.big == 9007199254740993") == "true");
  CHECK(evaluate("has(data.none)") == "true");
  CHECK(evaluate("has(data.t.x)") == "false");
  CHECK(evaluate("data.t == {'v': 21, 'u': 'C'}") == "true");
  CHECK(evaluate("data.t.v in [20, 21]") == "true");
  CHECK(evaluate("{21: 'yes'}[data.t.v]") == "yes");
  CHECK(evaluate("data.missing") == "error: no such key: 'missing', at column 1");
  CHECK(evaluate("data.t.v.w") == "error: a value of type double has no member 'w', at column 1");
  CHECK(evaluate("gone.x").find("error: a value of type null has no member 'x'") == 0);
  CHECK(json("data.list") == R"([1, 2.5, "x", null])");
}

TEST_CASE("an int beside a double becomes a double") {
  CHECK(evaluate("1 + 2.5") == "3.5");
  CHECK(evaluate("2.5 - 1") == "1.5");
  CHECK(evaluate("3 * 0.5") == "1.5");
  CHECK(evaluate("1 / 2.0") == "0.5");
  CHECK(evaluate("1 / 0.0") == "Infinity");
  CHECK(evaluate("temperature * 9 / 5 + 32") == "70.7");
  CHECK(evaluate("true ? 1 : 2.5") == "1.0");
  CHECK(evaluate("[1, 2.5]") == "[1, 2.5]");  // elements are not converted
  CHECK(evaluate("math.greatest(1, 2.5, 3)") == "3.0");
  CHECK(evaluate("math.greatest(temperature, 30)") == "30.0");
  CHECK(evaluate("9223372036854775807 == 9223372036854775808.0") == "false");
  CHECK(evaluate("9223372036854775807 < 9223372036854775808.0") == "true");
  CHECK(evaluate("9007199254740993 > 9007199254740992.0") == "true");
}

TEST_CASE("math.greatest and math.least do not convert the number that they return") {
  CHECK(evaluate("math.greatest(5.4, 10, 3, -5.0, 9223372036854775807) == 9223372036854775807") == "true");
  CHECK(evaluate("math.least(9007199254740993, 1e300) == 9007199254740993") == "true");
  CHECK(evaluate("math.least(-9223372036854775807, -5.5)") == "-9223372036854775807");
  CHECK(evaluate("math.greatest([5.5, data.big])") == "9007199254740993");
  CHECK(evaluate("math.greatest(temperature, data.big)") == "9007199254740993");
  CHECK(evaluate("math.greatest(temperature, 9007199254740993)") == "9007199254740993");
  CHECK(evaluate("math.least(temperature, count)") == "7");
}

TEST_CASE("a chain of operators is evaluated from left to right") {
  CHECK(evaluate("10 - 3 - 2") == "5");
  CHECK(evaluate("10 - (3 - 2) - 1") == "8");
  CHECK(evaluate("9 / 5 * 2.0 / 4") == "0.5");
  CHECK(evaluate("count / 2 * 2.0 + temperature") == "27.5");
  CHECK(evaluate("9223372036854775807 + count - count").find("error: integer overflow") == 0);
  CHECK(evaluate("count * 2 + 1 - 'x'").find("mistake at 0: no such overload: int - string") == 0);
  CHECK(evaluate("1 + count + gone").find("; the column 'gone' is null, at column 1") != std::string::npos);
  CHECK(evaluate("humidity + count + 1").find("; the column 'humidity' is null, at column 1") != std::string::npos);
}

TEST_CASE("times have parts in every time zone") {
  const auto at = [](const std::string& call) { return evaluate("timestamp('2026-07-01T23:30:15.25Z')." + call); };
  CHECK(at("getHours()") == "23");
  CHECK(at("getHours('Europe/Berlin')") == "1");
  CHECK(at("getDate('Europe/Berlin')") == "2");
  CHECK(at("getHours('-03:30')") == "20");
  CHECK(at("getMinutes('Asia/Kolkata')") == "0");
  CHECK(at("getMilliseconds()") == "250");
  CHECK(evaluate("timestamp('2026-01-01T12:00:00Z').getHours('America/New_York')") == "7");  // winter
  CHECK(evaluate("timestamp('2026-07-01T12:00:00Z').getHours('America/New_York')") == "8");
  CHECK(evaluate("time.getHours(device_id)").find("error: unknown time zone 'th-17'") == 0);
  CHECK(evaluate("timestamp('1969-12-31T23:59:59.999Z').getMilliseconds()") == "999");
  CHECK(evaluate("int(timestamp('1969-12-31T23:59:59Z'))") == "-1");
  for (const std::string wrong : {"2026-01-01", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z",
                                  "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00+01", "x"})
    CHECK(evaluate("timestamp('" + wrong + "')").find("error: '" + wrong + "' is not a time by RFC 3339") == 0);
}

TEST_CASE("durations are read and written") {
  CHECK(evaluate("string(duration('1h30m0.5s'))") == "5400.5s");
  CHECK(evaluate("duration('-1.5h')") == "-5400s");
  CHECK(evaluate("duration('0')") == "0s");
  CHECK(evaluate("duration('1.5us')") == "0.0000015s");
  CHECK(evaluate("duration('9223372036.854775807s')") == "9223372036.854775807s");
  CHECK(evaluate("duration('-9223372036.854775808s')") == "-9223372036.854775808s");
  for (const std::string wrong : {"", "1", "s", "1d", "1h 2m", "9223372036.854775808s", "--1s", "."})
    CHECK(evaluate("duration('" + wrong + "')").find("error: '" + wrong + "' is not a duration") == 0);
  CHECK(evaluate("time - timestamp('2025-11-24T15:58:30Z')") == "90s");
  CHECK(evaluate("duration('1h') > duration('59m')") == "true");
}

TEST_CASE("strings count characters and not bytes") {
  CHECK(evaluate("size('d\xC3\xA9j\xC3\xA0')") == "4");
  CHECK(evaluate("'d\xC3\xA9j\xC3\xA0'.substring(1, 3)") == "\xC3\xA9j");
  CHECK(evaluate("'abc'.replace('', '-')") == "-a-b-c-");
  CHECK(evaluate("'abc'.replace('', '-', 2)") == "-a-bc");
  CHECK(evaluate("'a,b,,c'.split(',')") == R"(["a", "b", "", "c"])");
  CHECK(evaluate("'a,b,c'.split(',', 2)") == R"(["a", "b,c"])");
  CHECK(evaluate("'abc'.split('')") == R"(["a", "b", "c"])");
  CHECK(evaluate("''.split(',')") == R"([""])");
  CHECK(evaluate("'abc'.split('b', 0)") == "[]");
  CHECK(evaluate("device_id.matches('^th-[0-9]+$')") == "true");
  CHECK(evaluate("device_id.matches('t' + '.')") == "true");
  CHECK(evaluate("device_id.matches(device_id + '(')").find("error: the regular expression is not valid") == 0);
  CHECK(evaluate("'%.2f %s'.format([temperature, data.list])") == "21.50 [1, 2.5, x, null]");
  CHECK(evaluate("'%'.format([])").find("error: format: the text ends within a clause") == 0);
  CHECK(evaluate("'%.1000f'.format([1.0])").find("error: format: the precision") == 0);
  CHECK(evaluate("string(1000000.0)") == "1000000");
  CHECK(evaluate("string(1e21)") == "1e+21");
  CHECK(evaluate("string(0.1)") == "0.1");
  CHECK(evaluate("int('+5') + int('-3')") == "2");
  CHECK(evaluate("int(' 5')").find("error: ' 5' is not an int") == 0);
  CHECK(evaluate("double('1e999')").find("error: ") == 0);
  CHECK(evaluate("double('nano')").find("error: ") == 0);
}

TEST_CASE("names are resolved by the longest column name, and variables hide columns") {
  CHECK(evaluate("[1, 2].map(temperature, temperature * 2)") == "[2, 4]");
  CHECK(evaluate("[1, 2].map(temperature, .temperature)") == "[21.5, 21.5]");
  CHECK(evaluate("[[1], [2, 3]].map(x, x.map(y, y + size(x)))") == "[[2], [4, 5]]");
  CHECK(evaluate("[{'b': 7}].map(a, a.b)") == "[7]");
  CHECK(evaluate("[1, 2, 3].map(x, x > 1, x * x)") == "[4, 9]");
  CHECK(evaluate("[1, 2].existsOne(x, x == 1)") == "true");
}

TEST_CASE("an evaluation is limited in steps and memory") {
  const std::string ten = "[0,1,2,3,4,5,6,7,8,9]";
  std::string nested = "true";
  for (int i = 0; i < 8; ++i) nested = ten + ".all(x" + std::to_string(i) + ", " + nested + ")";
  CHECK(evaluate(nested).find("error: the evaluation takes more than 1000000 steps") == 0);
  std::string doubled = "device_id";
  for (int i = 0; i < 30; ++i) doubled = "[" + doubled + "].map(x, x + x)[0]";
  CHECK(evaluate(doubled).find("error: the evaluation needs more than 8 MiB") == 0);
  CHECK(evaluate("'x'.replace('x', device_id)") == "th-17");
  std::string lists = ten;
  for (int i = 0; i < 20; ++i) lists = "[" + lists + "].map(x, x + x)[0]";
  CHECK(evaluate("size(" + lists + ")").find("error: ") == 0);
  CHECK(evaluate("ok || " + nested) == "true");

  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "[";
  const auto closing = std::string(300, ']');
  const auto nest = deep + closing;
  const table in({{"data", PL_JSON, {json_cell(nest)}}, {"other", PL_JSON, {json_cell(nest)}}});
  CHECK(evaluate("data == other", in).find("error: a value is nested more than 100 levels deep") == 0);
  CHECK(evaluate("'%s'.format([data])", in).find("error: a value is nested") == 0);
  CHECK(evaluate("size(data[0][0])", in) == "1");
}

TEST_CASE("results are printed as JSON or for people") {
  CHECK(json("temperature") == "21.5");
  CHECK(json("21.0") == "21.0");
  CHECK(json("1e300") == "1e+300");
  CHECK(json("-0.0") == "-0.0");
  CHECK(json("0.0 / 0.0") == "\"NaN\"");
  CHECK(json("-1.0 / 0.0") == "\"-Infinity\"");
  CHECK(json("b'\\xff\\x41'") == "\"\xC3\xBF\x41\"");
  CHECK(json("time") == "\"2025-11-24T16:00:00Z\"");
  CHECK(json("duration('90s')") == "\"90s\"");
  CHECK(json("null") == "null");
  CHECK(json("[true, 1, 'x\"', {1: null, true: 2.0}]") == R"([true,1,"x\"",{"1":null,"true":2.0}])");
  CHECK(json("data.t") == R"({"v": 21, "u": "C"})");
  CHECK(evaluate("{'a': [1, 2.0, 'x'], 'b': duration('1s')}") == R"({"a": [1, 2.0, "x"], "b": duration("1s")})");
  CHECK(evaluate("'as it is'") == "as it is");
}
