// SPDX-License-Identifier: Apache-2.0
// Tests of what does not compile: the message, and the place that it names.
#include "harness.hpp"

#include <doctest/doctest.h>

using namespace pl::cel::testing;

TEST_CASE("a syntax error names the place and what is expected") {
  CHECK(evaluate("1 +") == "mistake at 3: the expression ends here; expected a value");
  CHECK(evaluate("(1 + 2") == "mistake at 6: the expression ends here; expected ')'");
  CHECK(evaluate("") == "mistake at 0: the expression ends here; expected a value");
  CHECK(evaluate("1 2") == "mistake at 2: unexpected '2'; expected an operator or the end of the expression");
  CHECK(evaluate("[1, 2") == "mistake at 5: the expression ends here; expected ']'");
  CHECK(evaluate("{'a': 1") == "mistake at 7: the expression ends here; expected '}'");
  CHECK(evaluate("{'a' 1}") == "mistake at 5: unexpected '1'; expected ':'");
  CHECK(evaluate("size(1,)") == "mistake at 7: unexpected ')'; expected another argument");
  CHECK(evaluate("data.") == "mistake at 5: the expression ends here; expected a member's name");
  CHECK(evaluate("data.true") == "mistake at 5: unexpected 'true'; expected a member's name");
  CHECK(evaluate("true ? 1") == "mistake at 8: the expression ends here; expected ':'");
  CHECK(evaluate("1 < 2 # 3") == "mistake at 6: unexpected '#'");
}

TEST_CASE("a mistake from another language gets advice") {
  CHECK(evaluate("temperature = 3") == "mistake at 12: unexpected '='; write == to compare");
  CHECK(evaluate("device_id =~ 'a'").find("write text.matches('pattern')") != std::string::npos);
  CHECK(evaluate("device_id == \u201cabc\u201d").find("write straight quotes") != std::string::npos);
  CHECK(evaluate("not true").find("(write ! for a logical not)") != std::string::npos);
  CHECK(evaluate("device_id LIKE 'a'").find("text.startsWith('a')") != std::string::npos);
  CHECK(evaluate("temperature between 1").find("(write a >= 10 && a <= 20)") != std::string::npos);
  CHECK(evaluate("humidity ?? 0").find("(write x != null ? x : 0 for a default)") != std::string::npos);
  CHECK(evaluate("true & false").find("write && for a logical and") != std::string::npos);
  CHECK(evaluate("true | false").find("write || for a logical or") != std::string::npos);
  CHECK(evaluate("true and false").find("(write && for a logical and)") != std::string::npos);
  CHECK(evaluate("true OR false").find("(write || for a logical or)") != std::string::npos);
  CHECK(evaluate("1u") == "mistake at 0: '1u': unsigned integers are not supported; write 1");
  CHECK(evaluate("data.?x").find("optional values are not supported") != std::string::npos);
  CHECK(evaluate("Msg{a: 1}").find("messages such as Msg{...} are not supported") != std::string::npos);
  CHECK(evaluate("for").find("'for' is a reserved word; a column of this name is row.for") != std::string::npos);
}

TEST_CASE("literals that are not valid") {
  CHECK(evaluate("'abc") == "mistake at 0: the closing ' is missing");
  CHECK(evaluate("'a\nb'") == "mistake at 0: the closing ' is missing");
  CHECK(evaluate("'''a\nb'''") == "a\nb");
  CHECK(evaluate(R"('a\s')").find("mistake at 2: '\\s' is not an escape sequence") == 0);
  CHECK(evaluate(R"('\ud800')").find("is not a Unicode character") != std::string::npos);
  CHECK(evaluate(R"('\U00110000')").find("is not a Unicode character") != std::string::npos);
  CHECK(evaluate(R"('\x4')").find("needs 2 hexadecimal digits") != std::string::npos);
  CHECK(evaluate(R"('\477')").find("is not an escape sequence") != std::string::npos);
  CHECK(evaluate(R"(b'\u00ff')").find("is not an escape sequence of a bytes literal") != std::string::npos);
  CHECK(evaluate("9223372036854775808").find("is too large") != std::string::npos);
  CHECK(evaluate("-9223372036854775808") == "-9223372036854775808");
  CHECK(evaluate("- -9223372036854775807") == "9223372036854775807");
  CHECK(evaluate("1e999").find("is too large") != std::string::npos);
  CHECK(evaluate("1e-999") == "0.0");
  CHECK(evaluate("0x").find("'0x' needs hexadecimal digits") != std::string::npos);
  CHECK(evaluate("12abc").find("'12abc' is not a number") != std::string::npos);
  CHECK(evaluate("0xff") == "255");
  CHECK(evaluate("`a b`").find("mistake at 0") == 0);
  CHECK(evaluate("data.`a+b`").find("a name between backticks") != std::string::npos);
  CHECK(evaluate("'\xff'") == "mistake at 1: the expression is not valid UTF-8");
}

TEST_CASE("comments and white space separate tokens") {
  CHECK(evaluate("1 // one\n + 2 // two") == "3");
  CHECK(evaluate("\t1\f+\r\n2") == "3");
}

TEST_CASE("the macros check their arguments") {
  CHECK(evaluate("has(temperature)") == "mistake at 4: has() needs a member, such as has(row.humidity)");
  CHECK(evaluate("[1].all(x.y, true)").find("mistake at 8: all() needs a variable's name") == 0);
  CHECK(evaluate("[1].map(x)").find("mistake at 0: map() is called with other arguments") != std::string::npos);
  CHECK(evaluate("5.0.all(x, true)") == "mistake at 0: a value of type double is not a list or a map");
  CHECK(evaluate("[1].filter(x, x)") == "mistake at 14: the condition is of type int; it must be a bool");
}

TEST_CASE("size and depth of an expression are limited") {
  const auto repeated = [](const std::string& what, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += what;
    return text;
  };
  CHECK(evaluate(repeated("(", 100) + "1" + repeated(")", 100)) == "1");
  CHECK(evaluate(repeated("(", 300) + "1" + repeated(")", 300)).find("nested more than 250 levels") !=
        std::string::npos);
  CHECK(evaluate(repeated("[", 300)).find("nested more than 250 levels") != std::string::npos);
  CHECK(evaluate(repeated("!", 300) + "true").find("nested more than 250 levels") != std::string::npos);
  CHECK(evaluate(repeated("-(", 249) + "1" + repeated(")", 249)).find("-1") == 0);
  CHECK(evaluate(repeated("1 + (", 300) + "1" + repeated(")", 300)).find("nested more than 250 levels") !=
        std::string::npos);
  CHECK(evaluate(repeated("true ? 1 : ", 300) + "1").find("nested more than 250 levels") != std::string::npos);
  CHECK(evaluate("false" + repeated(" || false", 2000)) == "false");  // a chain is one level
  CHECK(evaluate(repeated("1 + ", 252) + "1") == "253");
  CHECK(evaluate(repeated("'a' + ", 260) + "'b'") == repeated("a", 260) + "b");
  CHECK(evaluate("10000" + repeated("-1+2-3", 1500)) == "7000");
  CHECK(evaluate(repeated("1.0*", 9000) + "3") == "3.0");
  CHECK(evaluate("temperature" + repeated("+1", 9000)) == "9021.5");
  CHECK(evaluate(repeated("1+", 9000) + "count + temperature") == "9028.5");
  CHECK(evaluate(repeated("1+", 10'000) + "1").find("more than 20000 parts") != std::string::npos);
  CHECK(evaluate("temperature" + repeated(" == temperature", 300)).find("nested more than 250 levels") !=
        std::string::npos);
  CHECK(evaluate(repeated(" ", 70'000) + "1").find("more than 65536 bytes") != std::string::npos);
  CHECK(evaluate("[" + repeated("1,", 25'000) + "1]").find("more than 20000 parts") != std::string::npos);
}
