// SPDX-License-Identifier: Apache-2.0
// Verdicts on documents by category: the scanner must accept y and reject n; RFC 8259 leaves i to the implementation.
#include "scanning.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace json;
using namespace json::testing;
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
    // i: a lone surrogate cannot be encoded in UTF-8
    R"("\ud800")", R"("\udc00")", R"("\ud800a")", R"("\ud800\n")", R"("\ud800\u0041")", R"("\ud800\ud800")",
    R"("\udc00\ud800")", R"({"\ud800":1})", R"("\ud83d\\ude00")"};

}  // namespace

TEST_CASE("valid documents are accepted") {
  for (const auto& document : accepted)
    CHECK_MESSAGE(verdict(document).empty(), document.substr(0, 80) << " -> " << verdict(document));
}

TEST_CASE("invalid documents are rejected with a reason") {
  for (const auto& document : refused) {
    const auto why = verdict(document);
    CHECK_MESSAGE(why.size() > 10, "'" << document << "'");
    CHECK_MESSAGE(why.find("no error") == std::string::npos, "'" << document << "' -> " << why);
  }
}

TEST_CASE("a document truncated at any byte is rejected") {
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

TEST_CASE("every byte of a string is checked, at any length and place") {
  // Covers both loops of end_of_plain: eight bytes per step, and the remaining bytes one by one.
  for (std::size_t length = 0; length < 40; ++length)
    for (std::size_t at = 0; at <= length; ++at)
      for (const char special : {'"', '\\', '\x1F', '\x80', '\x7F'}) {
        std::string document = "\"" + std::string(length, 'a') + "\"";
        document.insert(1 + at, 1, special);
        CAPTURE(document);
        // A quote ends the string before its last quote; a backslash escapes the character after it.
        const bool good = special == '\x7F';
        CHECK(verdict(document).empty() == good);
      }
}

TEST_CASE("reasons name the cause, the place and a remedy") {
  const auto reason_has = [](std::string_view document, std::string_view part) {
    const auto why = verdict(document, {32, 1000, true});
    CHECK_MESSAGE(why.find(part) != std::string::npos, "'" << document << "' -> " << why);
  };
  reason_has("", "the payload is empty");
  reason_has(" \n ", "only white space");
  reason_has("{\"a\":1", "ends too early, after 6 bytes");
  reason_has("\xEF\xBB\xBF{}", "byte order mark");
  reason_has(std::string_view("{\0\"\0", 4), "UTF-16");
  reason_has("\xFF\xFE{", "UTF-16");
  reason_has("\x1F\x8B\x08", "gzip");
  reason_has("{'a':1}", "double quotes only");
  reason_has("['a']", "double quotes only");
  reason_has("{\"a\":1,}", "at offset 7: expected a key in double quotes, found \"}\"; is there an extra comma?");
  reason_has("[1,]", "an extra comma");
  reason_has("// c\n{}", "no comments");
  reason_has("{\"a\":1 // c\n}", "no comments");
  reason_has("{}{}", "one message is one document");
  reason_has("{} x", "expected the end of the document, found \"x\"");
  reason_has("[NaN]", "NaN and Infinity");
  reason_has("[-Infinity]", "NaN and Infinity");
  reason_has("[01]", "leading zeros");
  reason_has("[0x1F]", "hexadecimal");
  reason_has("[+1]", "plus sign");
  reason_has("[None]", "true, false and null");
  reason_has("{\"a\":\"\xFF\"}", "not valid UTF-8, found \"\\xFF\"");
  reason_has("{\"\xFF\":1}", "not valid UTF-8");
  reason_has("\"\\ud800\"", "surrogate");
  reason_has("\"\n\"", "control character");
  reason_has("hello", "expected a value, found \"h\"");
  reason_has(std::string(33, '['), "deeper than max_depth (32)");
  reason_has(std::string(10'000, '['), "deeper than max_depth (32)");
  reason_has(R"({"x":{"temp":1,"b":2,"temp":3}})", "the key \"temp\" occurs twice");
  reason_has(R"({"a":1,"\u0061":2})", "the key \"a\" occurs twice");
}

TEST_CASE("limits are exact") {
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
  CHECK(verdict(twice, {32, 1000, true}).find("\"k50\" occurs twice") != std::string::npos);
  CHECK(verdict(twice, {32, 1000, false}).empty());
  CHECK(verdict(R"([{"a":1},{"a":1},{"b":{"a":1},"a":1}])", {32, 1000, true}).empty());
}

TEST_CASE("duplicate keys are found among any number of keys, also if their hashes are equal") {
  const scan_limits unique{32, 1000, true};
  for (int n = 1; n <= 40; ++n)
    for (int twice = 0; twice < n; ++twice) {
      std::string members;
      for (int i = 0; i < n; ++i) members += "\"key_" + std::to_string(i) + "\":0,";
      CHECK(verdict("{" + members + "\"x\":0}", unique).empty());
      const auto name = "\"key_" + std::to_string(twice) + "\"";
      CHECK(verdict("{" + members + name + ":1}", unique) == "the key " + name + " occurs twice in one object");
    }
  std::string many = "{";
  for (int i = 0; i < 70'000; ++i) many += "\"key_" + std::to_string(i) + "\":0,";
  const scan_limits unlimited{32, UINT32_MAX, true};
  CHECK(verdict(many + "\"x\":0}", unlimited).empty());
  CHECK(verdict(many + "\"key_777\":0}", unlimited).find("\"key_777\" occurs twice") != std::string::npos);
  // The hash includes the first and the last eight bytes only, so these collide.
  std::string same_hash = "{";
  for (int i = 100; i < 1000; ++i) same_hash += "\"12345678" + std::to_string(i) + "87654321\":0,";
  CHECK(verdict(same_hash + "\"x\":0}", unique).empty());
  CHECK(verdict(same_hash + "\"1234567855587654321\":0}", unique).find("5587654321\" occurs twice") !=
        std::string::npos);
}

TEST_CASE("escapes in strings are resolved") {
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

namespace {

// Everything that a scan finds, as text.
std::string scanned(json_scanner& scanner, std::string_view document) {
  std::string seen;
  const auto value = [&](const auto& self) -> bool {
    if (scanner.peek() == '{')
      return scanner.object([&](const json_key& key) {
        seen += "k" + std::string(key.text) + "|" + std::string(key.raw) + (key.has_nul ? "0" : "");
        scanner.watch(key);
        return self(self);
      });
    if (scanner.peek() == '[') return scanner.array([&](std::uint32_t) { return self(self); });
    json_value v;
    if (!scanner.value(v)) return false;
    seen += "v" + std::string(v.raw);
    return true;
  };
  scanner.begin(document);
  if (value(value) && scanner.finish()) return seen;
  return seen + "!" + scanner.explain();
}

}  // namespace

TEST_CASE("a scanner that remembers keys finds what any other scanner finds") {
  const std::vector<std::string> documents = {
      R"({"a":1,"b":2,"c":3})",
      R"({"a":1,"c":3})",
      R"({"c":3,"b":2,"a":1})",
      R"({"a":1,"x":0,"b":2,"c":3})",
      R"({"a" :1,"b": 2, "c":3})",
      R"({ "a":1 , "b":2 })",
      R"({"\u0061":1,"b":2})",
      R"({"a":1,"a":2})",
      R"({"a":1,"b")",
      R"({"a":)",
      R"({"a")",
      R"({"a":1,"b":2,"c":3,"d":{"a":1,"b":{"a":[{"b":1},{"b":2}]}}})",
      R"({})",
      R"([{"a":1},{"a":2}])",
      R"({"a_key_of_twenty_nine_bytes_x":1,"a_key_of_more_than_thirty_two_bytes":2,"b":2})",
      R"({"":1,"b":2})",
      R"({"Größe":1,"b":2})",
      R"({"a:1,"b":2})",
      R"({"a":1"b":2})",
      R"({"device_id_1":1,"device_id_2":2})",
      R"({"device_id_2":2,"device_id_3":3})",
      R"({"a_name_of_16byte":1})",
      R"({"a_name_of_13":1})",
      R"({"a_name_of_12":1})"};
  key_memory keys;
  memory_blocks memory, other_memory;
  text_arena arena, other_arena;
  arena.begin(memory.source());
  other_arena.begin(other_memory.source());
  for (const scan_limits limits : {scan_limits{32, 1000, true}, scan_limits{32, 4, true}}) {
    json_scanner remembering(limits, arena, &keys), other(limits, other_arena);
    std::mt19937 random(5);
    for (int i = 0; i < 30'000; ++i) {
      auto document = documents[random() % documents.size()];
      if (random() % 4 == 0) document.resize(random() % (document.size() + 1));
      if (random() % 4 == 0 && !document.empty())
        document[random() % document.size()] = "\":,{}ab\\ \x80"[random() % 11];
      // Copies of the exact size, so that the sanitizer detects a read beyond the end.
      const std::vector<char> copy(document.begin(), document.end());
      const std::string_view exact(copy.data(), copy.size());
      const auto expected = scanned(other, exact), found = scanned(remembering, exact);
      if (expected != found) FAIL_CHECK(document << " -> " << found << " instead of " << expected);
    }
  }
}

TEST_CASE("a remembered key keeps the note of its user, until another key takes its place") {
  key_memory keys;
  memory_blocks memory;
  text_arena arena;
  arena.begin(memory.source());
  json_scanner scanner({32, 1000, true}, arena, &keys);
  // Return the notes of the keys, and note a number about each new key.
  key_memory::note next = 1;
  const auto notes = [&](std::string_view document) {
    std::string all;
    scanner.begin(document);
    CHECK(scanner.object([&](const json_key& key) {
      all += key.note == nullptr ? "-" : std::to_string(*key.note);
      if (key.note != nullptr && *key.note == 0) *key.note = next++;
      json_value v;
      return scanner.value(v);
    }));
    return all;
  };
  CHECK(notes(R"({"a":1,"b":1,"c":1})") == "000");
  CHECK(notes(R"({"a":1,"b":1,"c":1})") == "123");
  CHECK(notes(R"({"a":1,"c":1})") == "13");
  CHECK(notes(R"({"a":1,"x":1,"c":1})") == "103");
  CHECK(notes(R"({"a":1,"x":1,"c":1})") == "143");
  CHECK(notes(R"({"a":1,"a_key_of_more_than_thirty_two_bytes":1,"x":1})") == "1-4");
  std::string many = "{";
  for (int i = 0; i < 2000; ++i) many += "\"k" + std::to_string(i) + "\":0,";
  many.back() = '}';
  json_scanner unlimited({32, 5000, true}, arena, &keys);
  for (int i = 0; i < 3; ++i) {
    unlimited.begin(many);
    json_value v;
    CHECK(unlimited.value(v));
  }
}

TEST_CASE("the scanner agrees with RapidJSON") {
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
    const bool half_surrogate = why.find("surrogate") != std::string::npos;  // RapidJSON 1.1 accepts some of them
    if (!half_surrogate)
      CHECK_MESSAGE(why.empty() == (expected == referee::accepts), "'" << document << "' -> " << why);
  }
  CHECK(compared > 30'000);
}

TEST_CASE("a scan that does not decode keys allocates nothing") {
  std::size_t allocated = 0;
  std::string memory(1000, ' ');
  text_arena arena;
  arena.begin([&](std::size_t bytes) {
    allocated += bytes;
    return memory.data();
  });
  json_scanner scanner({.max_depth = 10, .max_keys = 100, .unique_keys = false, .decode_keys = false}, arena);
  scanner.begin(R"({"\u0061\n": {"b\"": "\u0063"}})");
  json_value value;
  CHECK(scanner.value(value));
  CHECK(scanner.finish());
  CHECK(allocated == 0);
}
