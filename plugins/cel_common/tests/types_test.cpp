// SPDX-License-Identifier: Apache-2.0
// Tests of names and types: what compiles, and the kinds of results.
#include "harness.hpp"

#include <doctest/doctest.h>

using namespace pl;
using namespace pl::cel;
using namespace pl::cel::testing;

namespace {

std::uint32_t kind_of(std::string_view text) {
  const auto in = device();
  const auto compiled = compile(text, in.columns());
  REQUIRE_MESSAGE(compiled.ok(), text, ": ", compiled.why().message);
  return compiled.value().kind();
}

std::string condition(std::string_view text) {
  const auto in = device();
  const auto compiled = compile(text, in.columns(), {.want = purpose::condition});
  return compiled.ok() ? "" : compiled.why().message;
}

}  // namespace

TEST_CASE("an unknown column is a mistake with the nearest name") {
  CHECK(evaluate("temprature > 3") == "mistake at 0: unknown column 'temprature'; did you mean 'temperature'?");
  CHECK(evaluate("1 + humidty") == "mistake at 4: unknown column 'humidty'; did you mean 'humidity'?");
  CHECK(evaluate("row.humidty") == "mistake at 0: unknown column 'humidty'; did you mean 'humidity'?");
  CHECK(evaluate("row['humidty']").find("did you mean 'humidity'?") != std::string::npos);
  CHECK(evaluate("xyz").find("the columns are: temperature, humidity, ") != std::string::npos);
  CHECK(evaluate("[1].exists(x, y > x)").find("mistake at 14: unknown column 'y'") == 0);
}

TEST_CASE("a text without quotes is an unknown column, with advice to quote it") {
  CHECK(evaluate("device_id == meter").find("; put a text in quotes: 'meter'") != std::string::npos);
  CHECK(evaluate("device_id != th-17").find("; put a text in quotes: 'th-17'") != std::string::npos);
  CHECK(evaluate("temperature > meter").find("quotes") == std::string::npos);
}

TEST_CASE("functions of other languages have a counterpart") {
  CHECK(evaluate("max(1, 2)") == "mistake at 0: unknown function 'max'; write math.greatest");
  CHECK(evaluate("device_id.toUpper()") == "mistake at 0: unknown function 'toUpper'; write upperAscii");
  CHECK(
      evaluate("if(true, 1, 2)") ==
      "mistake at 0: 'if' is a reserved word; a column of this name is row.if; for a choice, write condition ? a : b");
}

TEST_CASE("an unknown function is a mistake with the nearest name or the way to call it") {
  CHECK(evaluate("device_id.startWith('t')") ==
        "mistake at 0: unknown function 'startWith'; did you mean 'startsWith'?");
  CHECK(evaluate("math.rounds(1.5)").find("did you mean 'math.round'?") != std::string::npos);
  CHECK(evaluate("startsWith(device_id, 't')").find("startsWith() is called as string.startsWith(string) -> bool") !=
        std::string::npos);
  CHECK(evaluate("device_id.double()").find("double() is called as double(double) -> double") != std::string::npos);
}

TEST_CASE("operands of types that no overload takes are mistakes") {
  CHECK(evaluate("temperature > 'x'") == "mistake at 0: no such overload: double > string");
  CHECK(evaluate("device_id + 1") == "mistake at 0: no such overload: string + int; convert with string(...)");
  CHECK(evaluate("temperature % 2") == "mistake at 0: no such overload: double % int; convert with int(...)");
  CHECK(evaluate("ok && count") ==
        "mistake at 6: no such overload: the operand of && is of type int; it must be a bool");
  CHECK(evaluate("!temperature").find("no such overload") != std::string::npos);
  CHECK(evaluate("-device_id") == "mistake at 0: no such overload: -string");
  CHECK(evaluate("time + 1") == "mistake at 0: no such overload: timestamp + int");
  CHECK(evaluate("count ? 1 : 2") == "mistake at 0: the condition is of type int; it must be a bool");
  CHECK(evaluate("device_id.charAt('x')")
            .find("no such overload: string.charAt(string); available: string.charAt(int) -> string") !=
        std::string::npos);
  CHECK(evaluate("temperature.v") == "mistake at 0: a value of type double has no member 'v'");
  CHECK(evaluate("has(temperature.v)").find("has() needs a map or row") != std::string::npos);
  CHECK(evaluate("temperature[0]") == "mistake at 0: no such overload: double[int]");
  CHECK(evaluate("[1, 2]['x']") == "mistake at 0: no such overload: list(int)[string]");
  CHECK(evaluate("'a' in 'abc'") == "mistake at 0: no such overload: string in string");
  CHECK(evaluate("'a' in [1, 2]") == "mistake at 0: no such overload: string in list(int)");
  CHECK(evaluate("{1.5: 'a'}") == "mistake at 1: a key cannot be of type double; keys are strings, ints or bools");
  CHECK(evaluate("math.greatest('a', 1)").find("the arguments must be numbers") != std::string::npos);
  CHECK(evaluate("['a', 'b'] == [1]") == "mistake at 0: no such overload: list(string) == list(int)");
}

TEST_CASE("constant patterns and time zones are checked") {
  CHECK(evaluate("device_id.matches('(')").find("mistake at 18: the regular expression is not valid: missing )") == 0);
  CHECK(evaluate("time.getHours('Europe/Berln')").find("mistake at 14: unknown time zone 'Europe/Berln'") == 0);
  CHECK(evaluate("time.getHours('+25:00')").find("unknown time zone") != std::string::npos);
}

TEST_CASE("the kind of a result is known before records arrive") {
  CHECK(kind_of("temperature * 9 / 5 + 32") == PL_F64);
  CHECK(kind_of("count * 2") == PL_I64);
  CHECK(kind_of("count * 2.0") == PL_F64);
  CHECK(kind_of("count > 2") == PL_BOOL);
  CHECK(kind_of("device_id + 'x'") == PL_TEXT);
  CHECK(kind_of("bytes(device_id)") == PL_BYTES);
  CHECK(kind_of("time + duration('1h')") == PL_TIME_NS);
  CHECK(kind_of("[1, 2]") == PL_JSON);
  CHECK(kind_of("{'a': temperature}") == PL_JSON);
  CHECK(kind_of("has(row.humidity) ? humidity : null") == PL_F64);
  CHECK(kind_of("ok ? count : temperature") == PL_F64);
  CHECK(kind_of("ok ? 1 : 'x'") == PL_NULL);
  CHECK(kind_of("data.t.v") == PL_NULL);
  CHECK(kind_of("data.t.v * 1.8") == PL_F64);
  CHECK(kind_of("mixed") == PL_NULL);
  CHECK(kind_of("size(data)") == PL_I64);
  CHECK(kind_of("device_id.split('-')[0]") == PL_TEXT);
  CHECK(kind_of("math.greatest(temperature, 30)") == PL_F64);
  CHECK(kind_of("math.greatest(temperature, 60 * 60)") == PL_F64);
  CHECK(kind_of("math.greatest(temperature, 9007199254740993)") == PL_NULL);
  CHECK(kind_of("math.greatest(temperature, count)") == PL_NULL);
  CHECK(kind_of("math.greatest(count, 30)") == PL_I64);
}

TEST_CASE("a condition is a bool; a cell cannot hold a duration") {
  CHECK(condition("temperature > 3").empty());
  CHECK(condition("data.ok").empty());  // known at run time
  CHECK(condition("temperature") == "the expression is of type double; a condition must be a bool");
  CHECK(condition("null") == "the expression is of type null; a condition must be a bool");
  const auto in = device();
  CHECK(compile("time - time", in.columns(), {.want = purpose::cells}).why().message ==
        "no column holds a duration; convert it, such as (a - b).getSeconds()");
}

TEST_CASE("without a schema every name is a column of any kind") {
  const auto in = device();
  const auto run = [&](std::string_view text) {
    return evaluator(compile(text, {}).value()).print(in.view(), 0, evaluator::notation::text).value();
  };
  CHECK(run("temperature + 1") == "22.5");
  CHECK(run("temperature > 21") == "true");
  CHECK(run("device_id == 'th-17'") == "true");
  CHECK(run("unheard_of == null") == "true");
  CHECK(run("data.t.v") == "21.0");
  CHECK(run("has(row.humidity)") == "false");
  CHECK(run("has(row.temperature)") == "true");
  CHECK(compile("1 + 'x'", {}).ok() == false);
}

TEST_CASE("a program lists its columns and hints") {
  const auto in = device();
  const auto p = compile("temperature > count && has(row.nothing) && row.ok && temperature < 3", in.columns()).value();
  CHECK(p.columns() == std::vector<std::string_view>{"temperature", "count", "ok"});
  REQUIRE(p.notes().size() == 1);
  CHECK(p.notes()[0].message.find("no row has the column 'nothing'") == 0);
  CHECK(p.notes()[0].begin == 23);
  CHECK(p.text().size() == 68);
}
