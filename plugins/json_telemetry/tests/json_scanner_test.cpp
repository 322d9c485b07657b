// SPDX-License-Identifier: Apache-2.0
// Verdicts on documents by category: y must be taken, n refused, i is ours to decide (RFC 8259 leaves it open).
#include "scanning.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace json_telemetry;
using namespace json_telemetry::testing;
using namespace std::string_literals;

namespace {

const std::vector<std::string> accepted = {"[]",
                                           "{}",
                                           "[[]]",
                                           "[{}]",
                                           R"({"a":[]})",
                                           " [] ",
                                           "\t\r\n{}\n",
                                           "[1]",
                                           "[1,2]",
                                           "[ 1 , 2 ]",
                                           R"({"":0})",
                                           R"({"a":{"b":{"c":[1,{"d":2}]}}})",
                                           R"({"a":1,"a":2})",
                                           R"({"a":null,"b":true,"c":false})",
                                           "0",
                                           "-0",
                                           "-1",
                                           "1.5",
                                           "1E3",
                                           "1e+3",
                                           "1e-3",
                                           "0e1",
                                           "0.0",
                                           "123456789",
                                           "[0.1e1]",
                                           "-0.0e-0",
                                           "true",
                                           "false",
                                           "null",
                                           "\"\"",
                                           "\"a\"",
                                           R"("\"\\\/\b\f\n\r\t")",
                                           R"("\u0041\u00e9\u20AC")",
                                           R"("\uD83D\uDE00")",
                                           R"("\u0000")",
                                           R"("\u001f")",
                                           "\"\x7F\"",
                                           "\"\xC2\x80\"",
                                           "\"\xC3\xBC\"",
                                           "\"\xE2\x82\xAC\"",
                                           "\"\xEF\xBF\xBF\"",
                                           "\"\xF0\x9F\x98\x80\"",
                                           "\"\xF4\x8F\xBF\xBF\"",
                                           "\"\xED\x9F\xBF\"",
                                           "\"\xEE\x80\x80\"",
                                           R"({"\u0061":1})",
                                           R"(["/",":",",","{","[","}","]"])",
                                           R"("\\u0000")",
                                           "\"" + std::string(100'000, 'x') + "\"",
                                           "[" + std::string(10'000, ' ') + "]",
                                           R"("\uFFFF")",
                                           R"("\udbff\udfff")",
                                           "[1e400]",
                                           "[1E-400]",
                                           "[" + std::string(400, '9') + "]",
                                           "[-" + std::string(400, '1') + "." + std::string(400, '1') + "]",
                                           "[1e999999999999]",
                                           "\"\xE2\x80\xA8\"",
                                           std::string(300, '[') + std::string(300, ']')};

const std::vector<std::string> refused = {
    "", " ", "\n\t", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1:2]", "[1}", "{]",
    "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{,}", "{\"a\" 1}", "{\"a\",1}", "{\"a\"::1}", "{a:1}",
    "{'a':1}", "{1:1}", "{null:1}", "{\"a\":1 \"b\":2}", "{\"a\":1}}", "[]]", "[][]", "{}{}", "1 2", "1,2", "{} x",
    "[]\v", "\f[]", "[\xC2\xA0]", "\xEF\xBB\xBF{}", "\xEF\xBB\xBF", "{\0\"\0}\0"s, "\0{"s, "\xFF\xFE{\0}\0"s, "[\0]"s,
    "{}\0"s, "nul", "nulll", "NULL", "True", "tru", "truth", "falsy", "undefined", "NaN", "-NaN", "Infinity",
    "-Infinity", "[+1]", "[.5]", "[1.]", "[-]", "[-.5]", "[01]", "[-01]", "[00]", "[1e]", "[1e+]", "[1E-]", "[1.e1]",
    "[1.5.5]", "[1e1.5]", "[0x1F]", "[1_000]", "[1a]", "[1ee1]", "[--1]", "[0e]", "[1f]", "[\xEF\xBC\x91]", "\"", "\"a",
    "\"\\", "\"\\\"", "\"\\u", "\"\\u00", "\"\\u004", "\"\\u004g\"", "\"\\x41\"", "\"\\a\"", "\"\\'\"", "\"\\ \"",
    "\"\\U0041\"", "\"\\u 041\"", "\"\\\n\"", "\"\n\"", "\"\t\"", "\"\x01\"", "\"\x1F\"", "\"a\0b\""s, "'a'",
    "[\"a\" \"b\"]", "\"\xFF\"", "\"\x80\"", "\"\xC0\xAF\"", "\"\xC1\xBF\"", "\"\xC3\"", "\"\xE0\x80\x80\"",
    "\"\xE2\x82\"", "\"\xED\xA0\x80\"", "\"\xED\xBF\xBF\"", "\"\xF0\x80\x80\x80\"", "\"\xF4\x90\x80\x80\"",
    "\"\xF5\x80\x80\x80\"", "\"\xF0\x9F\x98\"", "{\"\xFF\":1}", "[1]// c", "/* c */[]", "[1/*c*/]", "{\"a\":1 # c\n}",
    "\xC3", "\xE9[]", "*", "<null>", "[1,\n1\n,1", "{\"a\":/*c*/1}",
    // i: halves of surrogate pairs can't be written in UTF-8
    R"("\ud800")", R"("\udc00")", R"("\ud800a")", R"("\ud800\n")", R"("\ud800\u0041")", R"("\ud800\ud800")",
    R"("\udc00\ud800")", R"({"\ud800":1})", R"("\ud83d\\ude00")"};

}  // namespace

TEST_CASE("valid documents are taken") {
  for (const auto& document : accepted)
    CHECK_MESSAGE(verdict(document).empty(), document.substr(0, 80) << " -> " << verdict(document));
}

TEST_CASE("invalid documents are refused, with a sentence") {
  for (const auto& document : refused) {
    const auto why = verdict(document);
    CHECK_MESSAGE(why.size() > 10, "'" << document << "'");
    CHECK_MESSAGE(why.find("no error") == std::string::npos, "'" << document << "' -> " << why);
  }
}

TEST_CASE("cut off at every byte, a document is refused") {
  const std::string document = R"({"user_id":"ü\u00e9\ud83d\ude00\n","t":-12.5e+3,"a":[true,false,null,{"b":"\\"}]})";
  REQUIRE(verdict(document).empty());
  for (std::size_t n = 0; n < document.size(); ++n) {
    const auto why = verdict(std::string_view(document).substr(0, n));
    CAPTURE(n);
    CHECK(!why.empty());
    const bool inside_character = n > 0 && (document[n] & 0xC0) == 0x80;
    if (n > 0 && !inside_character) CHECK_MESSAGE(why.find("ends too early") != std::string::npos, why);
  }
}

TEST_CASE("any run of bytes before the end of a text is looked at") {
  // Each length and place, so that both the eight at a time and the rest see each special byte.
  for (std::size_t length = 0; length < 40; ++length)
    for (std::size_t at = 0; at <= length; ++at)
      for (const char special : {'"', '\\', '\x1F', '\x80', '\x7F'}) {
        std::string document = "\"" + std::string(length, 'a') + "\"";
        document.insert(1 + at, 1, special);
        CAPTURE(document);
        // A quote ends the text before the last quote; the backslash takes the character behind it along.
        const bool good = special == '\x7F';
        CHECK(verdict(document).empty() == good);
      }
}

TEST_CASE("reasons say what a person would") {
  const auto says = [](std::string_view document, std::string_view part) {
    const auto why = verdict(document, {32, 1000, true});
    CHECK_MESSAGE(why.find(part) != std::string::npos, "'" << document << "' -> " << why);
  };
  says("", "the payload is empty");
  says(" \n ", "nothing but white space");
  says("{\"a\":1", "ends too early, after 6 bytes");
  says("\xEF\xBB\xBF{}", "byte order mark");
  says(std::string_view("{\0\"\0", 4), "UTF-16");
  says("\xFF\xFE{", "UTF-16");
  says("\x1F\x8B\x08", "gzip");
  says("{'a':1}", "double quotes only");
  says("['a']", "double quotes only");
  says("{\"a\":1,}", "at offset 7: expected a key in double quotes, found \"}\"; is there a comma too many?");
  says("[1,]", "a comma too many");
  says("// c\n{}", "no comments");
  says("{\"a\":1 // c\n}", "no comments");
  says("{}{}", "one message is one document");
  says("{} x", "expected the end of the document, found \"x\"");
  says("[NaN]", "NaN and Infinity");
  says("[-Infinity]", "NaN and Infinity");
  says("[01]", "leading zeros");
  says("[0x1F]", "hexadecimal");
  says("[+1]", "plus sign");
  says("[None]", "true, false and null");
  says("{\"a\":\"\xFF\"}", "not valid UTF-8, found \"\\xFF\"");
  says("{\"\xFF\":1}", "not valid UTF-8");
  says("\"\\ud800\"", "surrogate");
  says("\"\n\"", "control character");
  says("hello", "expected a value, found \"h\"");
  says(std::string(33, '['), "deeper than max_depth (32)");
  says(std::string(10'000, '['), "deeper than max_depth (32)");
  says(R"({"x":{"temp":1,"b":2,"temp":3}})", "the key \"temp\" is there twice");
  says(R"({"a":1,"\u0061":2})", "the key \"a\" is there twice");
}

TEST_CASE("limits hold at their edge") {
  CHECK(verdict(std::string(32, '[') + std::string(32, ']'), {32, 10, true}).empty());
  CHECK(!verdict(std::string(33, '[') + std::string(33, ']'), {32, 10, true}).empty());
  const auto keys = [](int n) {
    std::string document = "{";
    for (int i = 0; i < n; ++i) document += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
    return document + "}";
  };
  CHECK(verdict(keys(1000), {32, 1000, true}).empty());
  CHECK(verdict(keys(1001), {32, 1000, true}).find("more keys than max_keys (1000)") != std::string::npos);
  CHECK(verdict(keys(1'000'000), {32, 1000, true}).find("max_keys") != std::string::npos);
  CHECK(verdict(keys(100), {32, 100, true}).empty());
  auto twice = keys(99);
  twice.insert(twice.size() - 1, ",\"k50\":1");
  CHECK(verdict(twice, {32, 1000, true}).find("\"k50\" is there twice") != std::string::npos);
  CHECK(verdict(twice, {32, 1000, false}).empty());
  CHECK(verdict(R"([{"a":1},{"a":1},{"b":{"a":1},"a":1}])", {32, 1000, true}).empty());
}

TEST_CASE("texts come out without their escapes") {
  const auto read = [](std::string_view document) {
    memory_blocks memory;
    text_arena arena;
    arena.begin(memory.source());
    json_scanner scanner(no_limits, arena);
    scanner.begin(document);
    json_value v;
    REQUIRE(scanner.value(v));
    return std::string(text_of(v, arena));
  };
  CHECK(read(R"("plain")") == "plain");
  CHECK(read(R"("")").empty());
  CHECK(read(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(read(R"("\u0041\u00e9\u20AC\uD83D\uDE00x")") == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80x");
  CHECK(read(R"("a\u0000b")") == "a\0b"s);
  CHECK(read(R"("\\u0000")") == "\\u0000");
}

TEST_CASE("RapidJSON agrees") {
  std::vector<std::string> seeds = accepted;
  seeds.insert(seeds.end(), refused.begin(), refused.end());
  std::mt19937 random(3);
  const std::string alphabet = "{}[]\":,0123456789.eE+-truefalsn \\u\"\"{}[]\xC3\xBC\x80\x01/";
  int compared = 0;
  for (int i = 0; i < 60'000; ++i) {
    auto document = seeds[random() % seeds.size()];
    if (document.size() > 200) continue;
    for (auto edits = random() % 4; edits > 0 && !document.empty(); --edits) {
      const auto at = random() % document.size();
      const char c = alphabet[random() % alphabet.size()];
      switch (random() % 3) {
        case 0:
          document[at] = c;
          break;
        case 1:
          document.insert(at, 1, c);
          break;
        default:
          document.erase(at, 1);
      }
    }
    const auto expected = rapidjson_verdict(document);
    if (expected == referee::unsure) continue;
    ++compared;
    const auto why = verdict(document);
    const bool half_surrogate = why.find("surrogate") != std::string::npos;  // RapidJSON 1.1 takes some of them
    if (!half_surrogate)
      CHECK_MESSAGE(why.empty() == (expected == referee::accepts), "'" << document << "' -> " << why);
  }
  CHECK(compared > 30'000);
}
