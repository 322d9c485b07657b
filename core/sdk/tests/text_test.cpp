// SPDX-License-Identifier: Apache-2.0
#include <pipeline/text.hpp>

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

using namespace std::string_view_literals;

TEST_CASE("UTF-8: valid sequences have one to four bytes; invalid ones are detected") {
  CHECK(pl::utf8_sequence("a", 0) == 1);
  CHECK(pl::utf8_sequence("xü", 1) == 2);
  CHECK(pl::utf8_sequence("温", 0) == 3);
  CHECK(pl::utf8_sequence("🙂", 0) == 4);
  for (const auto bad : {"\x80"sv, "\xC3"sv, "\xC0\xAF"sv, "\xE0\x9F\xBF"sv, "\xED\xA0\x80"sv, "\xF0\x8F\xBF\xBF"sv,
                         "\xF4\x90\x80\x80"sv, "\xF5\x80\x80\x80"sv, "\xE6\xB8z"sv})
    CHECK_MESSAGE(pl::utf8_sequence(bad, 0) == 0, pl::to_hex(bad));
}

TEST_CASE("UTF-8: the first invalid byte is found at every offset") {
  CHECK(pl::find_invalid_utf8("") == std::string_view::npos);
  CHECK(pl::is_utf8("Zürich 温度 🙂, and more than eight bytes of ASCII"));
  for (std::size_t at = 0; at < 20; ++at) {
    std::string text(20, 'a');
    text[at] = '\xFF';
    CHECK(pl::find_invalid_utf8(text) == at);
    CHECK_FALSE(pl::is_utf8(text));
  }
}

TEST_CASE("UTF-8: each invalid byte becomes U+FFFD") {
  CHECK(pl::valid_utf8("ok \xF0\x9F\x99\x82 \x80") == "ok 🙂 \uFFFD");
  CHECK(pl::valid_utf8("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");
  CHECK(pl::valid_utf8("\xE6\xB8z") == "\uFFFD\uFFFDz");
}

TEST_CASE("UTF-8: code points survive a round trip") {
  for (const char32_t code : {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string text;
    pl::append_code_point(text, code);
    CHECK(pl::utf8_sequence(text, 0) == text.size());
    CHECK(static_cast<unsigned>(pl::code_point(text)) == static_cast<unsigned>(code));
  }
  CHECK(static_cast<unsigned>(pl::code_point("€")) == 0x20AC);
  CHECK(pl::count_characters("üöä🙂z") == 5);
}

TEST_CASE("UTF-8: text is cut at character boundaries") {
  CHECK(pl::cut_bytes("abc", 3) == "abc");
  CHECK(pl::cut_bytes("abü", 3) == "ab");
  CHECK(pl::cut_bytes("🙂🙂", 7) == "🙂");
  CHECK(pl::cut_bytes("🙂", 0).empty());
  CHECK(pl::cut_bytes("\x80\x80\x80\x80\x80\x80\x80\x80", 6).size() == 3);  // not UTF-8: at most three bytes less
}

TEST_CASE("characters that control a terminal are recognised") {
  for (const char32_t code : {0x00U, 0x1BU, 0x7FU, 0x80U, 0x9FU}) CHECK(pl::is_control(code));
  for (const char32_t code : {0x20U, 0x7EU, 0xA0U}) CHECK_FALSE(pl::is_control(code));
}

TEST_CASE("invisible characters are unsafe for a terminal") {
  const std::pair<char32_t, char32_t> invisible[] = {
      {0xAD, 0xAD},       {0x61C, 0x61C},     {0x200B, 0x200F},  {0x202A, 0x202E},  // soft hyphen, marks, zero width
      {0x2060, 0x2064},   {0x2066, 0x206F},   {0x180E, 0x180E},  {0x3164, 0x3164},  // joiners, isolates, fillers
      {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},                     // variation selectors, annotations
      {0xE0000, 0xE007F}, {0xE0100, 0xE01EF}, {0x1D173, 0x1D17A}};                  // tags, further variation selectors
  for (const auto& [first, last] : invisible)
    for (auto code = first; code <= last; ++code) {
      CAPTURE(static_cast<unsigned>(code));
      CHECK(pl::is_invisible(code));
      CHECK(pl::is_unsafe_for_terminal(code));
    }
  for (const char32_t code : {U' ', U'a', U'\u00AC', U'\u00AE', U'é', U'\u200A', U'\u2010', U'\u202F', U'\u205F', U'温',
                              U'\uFDFF', U'\uFE10', U'\uFFFC', U'\uFFFD', U'🙂', U'\U000DFFFF', U'\U000E1000'})
    CHECK_FALSE(pl::is_unsafe_for_terminal(code));
  CHECK(pl::is_unsafe_for_terminal(0x2028));
}

TEST_CASE("code points are escaped for JSON and for people") {
  std::string json, text;
  for (const char32_t code : {U'\u200B', U'\uFEFF', U'\U000E0041', U'\U0010FFFF'}) {
    pl::append_json_code_point(json, code);
    pl::append_code_point_escape(text, code);
  }
  CHECK(json == R"(\u200b\ufeff\udb40\udc41\udbff\udfff)");
  CHECK(text == R"(\u200b\ufeff\U000e0041\U0010ffff)");
}

TEST_CASE("ASCII: lower case and trimming") {
  CHECK(pl::to_lower("Content-TYPE Ü") == "content-type Ü");
  CHECK(pl::trim("  a b\t\r\n") == "a b");
  CHECK(pl::trim(" \n").empty());
  CHECK(pl::trim("\tx ", " ") == "\tx");
}

TEST_CASE("hexadecimal digits are encoded and decoded") {
  CHECK(pl::to_hex("\x00\x1f\xff"sv) == "001fff");
  CHECK(pl::from_hex("001FfF") == "\x00\x1f\xff"sv);
  CHECK(pl::from_hex("") == "");
  for (const auto* bad : {"0", "0g", "g0", "0x"}) CHECK_FALSE(pl::from_hex(bad));
  CHECK(pl::hex_value('9') == 9);
  CHECK(pl::hex_value('a') == 10);
  CHECK(pl::hex_value('F') == 15);
  for (const char c : {'g', '/', ':', '@', 'G', '`'}) CHECK(pl::hex_value(c) == -1);
  CHECK(pl::hex_number("20Ac") == 0x20AC);
  std::string out;
  pl::append_byte_escape(out, '\x1b');
  pl::append_byte_escape(out, '\xAB', pl::hex_case::upper);
  CHECK(out == "\\x1b\\xAB");
}

TEST_CASE("base64: the examples of RFC 4648 are encoded and decoded") {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> examples{{{"", ""},
                                                                                   {"f", "Zg=="},
                                                                                   {"fo", "Zm8="},
                                                                                   {"foo", "Zm9v"},
                                                                                   {"foob", "Zm9vYg=="},
                                                                                   {"fooba", "Zm9vYmE="},
                                                                                   {"foobar", "Zm9vYmFy"}}};
  for (const auto& [bytes, text] : examples) {
    CHECK(pl::base64(bytes) == text);
    CHECK(pl::from_base64(text) == bytes);
  }
  CHECK(pl::from_base64("Zg") == "f");
  CHECK(pl::from_base64(pl::base64("\xFF\x00\xFE"sv)) == "\xFF\x00\xFE"sv);
  CHECK_FALSE(pl::from_base64("Zm9*"));
}

TEST_CASE("percent-encoding: bytes are encoded and decoded") {
  std::string out;
  for (const char c : "/ü"sv) pl::append_percent(out, c);
  CHECK(out == "%2F%C3%BC");
  CHECK(pl::percent_decode("a%2fb%C3%BC") == "a/bü");
  CHECK(pl::percent_decode("%00") == "\0"sv);
  for (const auto* bad : {"%", "%2", "a%2", "%zz", "%2g"}) CHECK_FALSE(pl::percent_decode(bad));
}

TEST_CASE("JSON strings are quoted and escaped") {
  std::string out;
  pl::append_json_string(out, "a\"b\\c\n\r\t\x1b \x7fü"sv);
  CHECK(out == "\"a\\\"b\\\\c\\n\\r\\t\\u001b \x7fü\"");
}

TEST_CASE("edit distance: insert, delete, replace, swap") {
  CHECK(pl::edit_distance("", "") == 0);
  CHECK(pl::edit_distance("", "abc") == 3);
  CHECK(pl::edit_distance("kitten", "sitting") == 3);
  CHECK(pl::edit_distance("form", "from") == 1);
  CHECK(pl::edit_distance("ca", "abc") == 3);  // restricted: a swapped pair is not edited again
}

TEST_CASE("nearest name: a misspelt name finds the intended one") {
  const std::vector<std::string> known{"temperature", "device_id", "iot-stream", "brokers", "id"};
  CHECK(pl::nearest_name("temprature", known) == "temperature");
  CHECK(pl::nearest_name("Temperature", known) == "temperature");
  CHECK(pl::nearest_name("deviceid", known) == "device_id");
  CHECK(pl::nearest_name("iot_straem", known) == "iot-stream");
  CHECK(pl::nearest_name("brokers_list", known) == "brokers");
  CHECK(pl::nearest_name("temp", known) == "temperature");
  CHECK(pl::nearest_name("tim", std::array{"time"}) == "time");
  CHECK_FALSE(pl::nearest_name("pressure", known));
  CHECK_FALSE(pl::nearest_name("x", std::vector<std::string>{}));
  CHECK_FALSE(pl::nearest_name("xyzzy", known));
  CHECK_FALSE(pl::nearest_name("", known));
  CHECK(pl::did_you_mean("broker", known) == "did you mean 'brokers'?");
  CHECK(pl::did_you_mean("broker", known, "; ") == "; did you mean 'brokers'?");
  CHECK(pl::did_you_mean("xyzzy", known, "; ").empty());
}

TEST_CASE("nearest name: misspelt names of options find the intended ones") {
  constexpr std::array<std::string_view, 8> names = {"table", "topic",   "batch", "max_bytes",
                                                     "from",  "brokers", "delay", "id"};
  const auto find = [&](std::string_view name) { return pl::nearest_name(name, names).value_or(""); };
  CHECK(find("tabel") == "table");
  CHECK(find("form") == "from");
  CHECK(find("Topic") == "topic");
  CHECK(find("max-bytes") == "max_bytes");
  CHECK(find("maxbytes") == "max_bytes");
  CHECK(find("btach") == "batch");
  CHECK(find("broker") == "brokers");
  CHECK(find("brokers_list") == "brokers");
  CHECK(find("delay_ms") == "delay");
  CHECK(find("ID") == "id");
  CHECK(find("ix").empty());
  CHECK(find("cable_tv").empty());
  CHECK(find("xyzzy").empty());
  CHECK(find("").empty());
  CHECK(find(std::string(100'000, 'x')).empty());
}

TEST_CASE("nearest name: misspelt names of topics find the intended ones") {
  const std::vector<std::string> topics{"alerts", "iot-stream", "iot-stream-dead"};
  CHECK(pl::nearest_name("iot-straem", topics) == "iot-stream");
  CHECK(pl::nearest_name("alrets", topics) == "alerts");
  CHECK(pl::nearest_name("iot-stream-de", topics) == "iot-stream-dead");
  CHECK(pl::did_you_mean("iot_stream", topics, "; ") == "; did you mean 'iot-stream'?");
  CHECK_FALSE(pl::nearest_name("payments", topics));
}

TEST_CASE("JSON for a terminal has the same meaning and no character that controls a terminal") {
  const std::string hostile =
      "a\x7F\xC2\x9B\xE2\x80\xAE\xE2\x81\xA6\xE2\x80\x8F\xE2\x80\xA8\xEF\xBB\xBF\u200B\U000E0041z \xC3\xA9 "
      "\xF0\x9F\x99\x82";
  std::string json, safe;
  pl::append_json_string(json, hostile);
  pl::append_json_for_terminal(safe, json);
  CHECK(safe ==
        "\"a\\u007f\\u009b\\u202e\\u2066\\u200f\\u2028\\ufeff\\u200b\\udb40\\udc41z \xC3\xA9 \xF0\x9F\x99\x82\"");
  safe.clear();
  pl::append_json_for_terminal(safe, "{\"a\":\"\xFF\"}");
  CHECK(safe == "{\"a\":\"\xEF\xBF\xBD\"}");
}
