// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <mqtt_common/strings.hpp>

#include <string>

namespace {

std::string allowed(std::string_view text) {
  std::string out = "before ";
  mqtt::append_allowed(out, text);
  return out.substr(7);
}

std::string problem(std::string_view text) { return mqtt::string_problem(text).value_or(""); }

}  // namespace

TEST_CASE("strings that MQTT does not allow in a packet are found, with the character") {
  for (const auto* good : {"", "device 1", "50 %", "größe", "温度 🌡", "a/b+c#d$"})
    CHECK_MESSAGE(problem(good).empty(), good);
  CHECK(problem(std::string("a\0b", 3)) == "has a control character (U+0000)");
  CHECK(problem("a\tb") == "has a control character (U+0009)");
  CHECK(problem("\x7F") == "has a control character (U+007F)");
  CHECK(problem("\xC2\x85") == "has a control character (U+0085)");
  CHECK(problem("\xEF\xBF\xBE") == "has a noncharacter (U+FFFE)");
  CHECK(problem("\xEF\xB7\x90") == "has a noncharacter (U+FDD0)");
  CHECK(problem("\xF0\x9F\xBF\xBF") == "has a noncharacter (U+1FFFF)");
  CHECK(problem("\xED\xA0\x80") == "is not valid UTF-8");  // a lone surrogate
  CHECK(problem("\xFF") == "is not valid UTF-8");
  CHECK(problem(std::string(65'535, 'x')).empty());
  CHECK(problem(std::string(65'536, 'x')) == "has 65536 bytes; MQTT allows 65,535 in a string");
}

TEST_CASE("what is not allowed is percent-encoded; other texts stay as they are") {
  CHECK(allowed("50 % of größe") == "50 % of größe");
  CHECK(allowed("bell\x07") == "bell%07");
  CHECK(allowed(std::string("50 %\0", 5)) == "50 %25%00");
  CHECK(allowed("\xFF") == "%FF");
  CHECK(allowed("\xED\xA0\x80") == "%ED%A0%80");
  CHECK(allowed("\xC2\x85") == "%C2%85");
  CHECK(allowed("") == "");
  for (const auto* strange : {"a\x01", "\xFF\xFE", "\xEF\xBF\xBF", "ok"}) CHECK(problem(allowed(strange)).empty());
}
