// SPDX-License-Identifier: Apache-2.0
// Lists every kind of bad input with its outcome and the text of its reason. The items of a list are one batch with a
// good record on either side of each, to check that bad input does not affect good records.
#include "harness.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace pl::testing;
using namespace json_telemetry::testing;
using namespace std::string_literals;

namespace {

struct item {
  std::string name, payload;
  std::string outcome;  // part of the reason; or, if it begins with '{', the row
};
using items = std::vector<item>;

constexpr const char* good =
    R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z","temperature":21.5})";
constexpr const char* good_row =
    R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7","temperature":21.5})";

std::string with(const std::string& members) {
  return R"({"user_id":"u1","device_id":"d7","timestamp":"2026-11-24T18:00:00Z",)" + members + "}";
}
std::string row_with(const std::string& members) {
  return R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7",)" + members + "}";
}
std::string at(const std::string& time) {
  return R"({"user_id":"u1","device_id":"d7","temperature":21.5,"timestamp":)" + time + "}";
}
std::string row_at(const std::string& time) {
  return R"({"time":")" + time + R"(","user_id":"u1","device_id":"d7","temperature":21.5})";
}
std::string metric(const std::string& value) { return with("\"temperature\":" + value); }
std::string row_metric(const std::string& value) { return row_with("\"temperature\":" + value); }
std::string device(const std::string& id) {
  return R"({"user_id":"u1","device_id":")" + id + R"(","timestamp":1795543200})";
}
std::string utf16(std::string_view ascii, bool big) {
  std::string out = big ? "\xFE\xFF" : "\xFF\xFE";
  for (const char c : ascii) out += big ? "\0"s + c : c + "\0"s;
  return out;
}
std::string many_keys(int n) {
  std::string keys;
  for (int i = 0; i < n; ++i) keys += "\"k" + std::to_string(i) + "\":0,";
  return with(keys + "\"z\":0");
}

// Check that the reason is a short sentence on one line that can be shown in a table and on a terminal.
void can_be_read(const std::string& reason) {
  CHECK(pl::is_utf8(reason));
  CHECK(reason.size() >= 15);
  CHECK(reason.size() < 500);
  CHECK(std::count(reason.begin(), reason.end(), ' ') >= 3);
  CHECK(std::none_of(reason.begin(), reason.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }));
}

std::map<std::uint64_t, std::string> reasons_of(const fake_host& host) {
  std::map<std::uint64_t, std::string> by_position;
  for (const auto& r : host.rejects()) {
    CHECK(r.stream == "topic/0");
    CHECK(by_position.emplace(r.position, r.reason).second);
  }
  return by_position;
}

std::map<std::uint64_t, std::string> rows_of(pl::batch_view out, const std::vector<std::string>& rows) {
  std::map<std::uint64_t, std::string> by_position;
  std::size_t n = 0;
  for (const auto row : out.selection()) {
    auto& text = by_position[out.position(row)];
    text += (text.empty() ? "" : "\n") + rows[n++];
  }
  return by_position;
}

void check(harness& h, const items& list) {
  std::vector<std::string> payloads{good};
  for (const auto& i : list) payloads.insert(payloads.end(), {i.payload, good});
  const auto rows = rows_of(h.output_of(payloads), h.rows());
  const auto reasons = reasons_of(h.host);
  for (std::size_t n = 0; n < list.size(); ++n) {
    const auto& [name, payload, outcome] = list[n];
    const auto position = 101 + 2 * n;
    CAPTURE(name);
    CHECK(rows.at(position - 1) == good_row);
    CHECK(rows.at(position + 1) == good_row);
    CHECK(rows.count(position) + reasons.count(position) == 1);
    if (outcome.starts_with('{')) {
      CHECK((rows.contains(position) ? rows.at(position) : reasons.at(position)) == outcome);
    } else if (reasons.contains(position)) {
      CHECK_MESSAGE(reasons.at(position).find(outcome) != std::string::npos, reasons.at(position));
      can_be_read(reasons.at(position));
    }
    CHECK(reasons.contains(position) != outcome.starts_with('{'));
  }
}

void check(const items& list, config_fields options = {}) {
  harness h(std::move(options));
  check(h, list);
}

}  // namespace

TEST_CASE("bad input: documents") {
  check({{"not JSON", "hello", "expected a value, found \"h\""},
         {"not JSON, but a number in words", "twenty degrees", "not JSON"},
         {"CSV", "u1,d7,2026-11-24T18:00:00Z,21.5", "not JSON"},
         {"XML", "<reading/>", "not JSON: at offset 0: expected a value, found \"<\""},
         {"gzip", "\x1F\x8B\x08\0\0"s, "gzip"},
         {"empty payload", "", "the payload is empty"},
         {"only spaces", "  \t\r\n ", "the payload contains only white space"},
         {"two documents", good + ""s + good, "one message is one document"},
         {"two documents, a line each", good + "\n"s + good + "\n", "one message is one document"},
         {"trailing comma in an object", with("\"a\":1,"), "an extra comma"},
         {"trailing comma in an array", with("\"a\":[1,]"), "an extra comma"},
         {"comment to the end of the line", with("\"a\":1 // c\n"), "JSON has no comments"},
         {"comment in stars", "/* c */" + ""s + good, "JSON has no comments"},
         {"single quotes", "{'user_id':'u1'}", "double quotes only"},
         {"key without quotes", "{user_id:\"u1\"}", "expected a key in double quotes"},
         {"byte order mark", "\xEF\xBB\xBF"s + good, "byte order mark"},
         {"UTF-16, little end first", utf16(good, false), "UTF-16"},
         {"UTF-16, big end first", utf16(good, true), "UTF-16"},
         {"UTF-16 without a mark", utf16(good, false).substr(2), "UTF-16"},
         {"NUL after the document", good + "\0"s, "expected the end of the document"},
         {"only NUL", std::string(16, '\0'), "not JSON"}});
}

TEST_CASE("bad input: truncated at every byte") {
  const std::string whole =
      R"({"user_id":"ü\u00e9\ud83d\ude00\n","device_id":"d7","ts":-12.5e+3,"a":[true,{"b":"\\"}]})";
  items list;
  for (std::size_t n = 1; n < whole.size(); ++n) {
    const bool inside_character = (static_cast<unsigned char>(whole[n]) & 0xC0U) == 0x80;
    list.push_back({"after " + std::to_string(n), whole.substr(0, n),
                    inside_character ? "not valid UTF-8" : "the document ends too early, after " + std::to_string(n)});
  }
  check(list);
}

TEST_CASE("bad input: strings") {
  check({{"invalid UTF-8 in a string", with("\"a\":\"\xC3\x28\""), "a string that is not valid UTF-8"},
         {"Latin-1", with("\"a\":\"gr\xFC\xDF\""), "a string that is not valid UTF-8, found \"\\xFC"},
         {"invalid UTF-8 in a key", with("\"\xFF\":1"), "a string that is not valid UTF-8"},
         {"overlong UTF-8", with("\"a\":\"\xC0\xAF\""), "a string that is not valid UTF-8"},
         {"surrogate in UTF-8", with("\"a\":\"\xED\xA0\x80\""), "a string that is not valid UTF-8"},
         {"lone surrogate escape, the first half", with(R"("a":"\ud83d")"), "half of a surrogate pair"},
         {"lone surrogate escape, the second half", with(R"("a":"\ude00")"), "half of a surrogate pair"},
         {"lone surrogate escape in a key", with(R"("\ud83d":1)"), "half of a surrogate pair"},
         {"surrogates in the wrong order", with(R"("a":"\ude00\ud83d")"), "half of a surrogate pair"},
         {"\\u0000 in a string", with(R"("a":"x\u0000y")"),
          "contains \\u0000, which PostgreSQL cannot store; to remove it, set 'nul: strip'"},
         {"\\u0000 in a key", with(R"("a\u0000":1)"), "contains \\u0000"},
         {"\\u0000 in a long key", with("\"" + std::string(58, 'k') + "\xC3\xBC\xC3\xBC\\u0000\":1"),
          "the field \"" + std::string(58, 'k') + "\xC3\xBC...\" contains \\u0000"},
         {"\\u0000 in an id", device("d\\u0000"), "'device_id' contains \\u0000"},
         {"NUL itself", with("\"a\":\"x\0y\""s), "a control character in a string, found \"\\x00\""},
         {"line break in a string", with("\"a\":\"x\ny\""), "a control character in a string, found \"\\x0A\""},
         {"escape of C", with(R"("a":"\x41")"), "an invalid escape sequence"}});
}

TEST_CASE("bad input: sizes and shapes") {
  const std::string deep = std::string(10'000, '[') + std::string(10'000, ']');
  check({{"nesting of 10,000", deep, "nested deeper than max_depth (32)"},
         {"nesting of 10,000 inside", with("\"a\":" + deep), "nested deeper than max_depth (32)"},
         {"nesting of 10,000, not closed", std::string(10'000, '['), "nested deeper than max_depth (32)"},
         {"10 MB text", with("\"a\":\"" + std::string(10 << 20, 'x') + "\""), "more than max_size (1048576)"},
         {"1,000,000 keys", many_keys(1'000'000), "more than max_size (1048576)"},
         {"10,000 keys", many_keys(10'000), "more keys than max_keys (1000)"},
         {"key twice", with(R"("temperature":1,"temperature":2)"), "the key \"temperature\" occurs twice in one"},
         {"key twice, once in escapes", with(R"("a":1,"\u0061":2)"), "the key \"a\" occurs twice in one object"},
         {"number at top level", "42", "the payload is the number 42, neither an object nor an array of objects"},
         {"string at top level", "\"hi\"", "the payload is the string \"hi\", neither"},
         {"null at top level", "null", "the payload is null, neither"},
         {"bool at top level", "false", "the payload is false, neither"},
         {"array of numbers", "[1,2]", "reading 1: it is the number 1, not an object"},
         {"array of arrays", "[[1]]", "reading 1: it is an array, not an object"},
         {"empty array", "[]", "an array without readings"},
         {"empty object", "{}", "'time' is missing"},
         {"batch array of readings", "["s + good + "," + metric("1") + "]", good_row + "\n"s + row_metric("1")},
         {"batch array with a bad one", "["s + good + "," + metric("true") + "]", "reading 2: 'temperature' is true"}});
  check({{"10 MB text", with("\"temperature\":21.5,\"a\":\"" + std::string(10 << 20, 'x') + "\""),
          row_with("\"temperature\":21.5,\"extra\":{\"a\":\"" + std::string(10 << 20, 'x') + "\"}")},
         {"1,000,000 keys", many_keys(1'000'000), "more keys than max_keys (1000)"}},
        {{"max_size", pl::byte_size{100 << 20}}});
}

TEST_CASE("bad input: ids") {
  const auto row = [](const std::string& id) {
    return R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":")" + id + "\"}";
  };
  check(
      {{"missing id", R"({"user_id":"u1","ts":1795543200})", "'device_id' is missing or null; looked for: device_id"},
       {"null id", R"({"user_id":"u1","device_id":null,"ts":1795543200})", "'device_id' is missing or null"},
       {"empty id", device(""), "'device_id' is an empty text"},
       {"id that is an object", R"({"user_id":{"n":1},"device_id":"d","ts":1})",
        "'user_id' is an object: not a string"},
       {"id with a fraction", R"({"user_id":1.0,"device_id":"d","ts":1})", "'user_id' is the number 1.0: not a string"},
       {"64 KB", device(std::string(65'536, 'd')), "'device_id' has 65536 bytes, more than max_id (1024)"},
       {"spaces", device(" a b "), row(" a b ")},
       {"quotes", device(R"(say \"hi\" it's)"), row(R"(say \"hi\" it's)")},
       {"tabs", device(R"(a\tb)"), row(R"(a\tb)")},
       {"newlines", device(R"(a\r\nb)"), row(R"(a\r\nb)")},
       {"backslashes", device(R"(a\\b\\)"), row(R"(a\\b\\)")},
       {"the end of COPY's text", device(R"(\\.)"), row(R"(\\.)")},
       {"the null of COPY's text", device(R"(\\N)"), row(R"(\\N)")},
       {"emoji", device("\xF0\x9F\x98\x80"), row("\xF0\x9F\x98\x80")},
       {"emoji in escapes", device(R"(\ud83d\ude00)"), row("\xF0\x9F\x98\x80")},
       {"characters that are invalid in topics", device("a/b+c#$d"), row("a/b+c#$d")},
       {"SQL", device("'; DROP TABLE raw_telemetry; --"), row("'; DROP TABLE raw_telemetry; --")},
       {"template", device("{user_id}${HOME}%s"), row("{user_id}${HOME}%s")}});
  check({{"64 KB, where it is allowed", device(std::string(65'536, 'd')), row(std::string(65'536, 'd'))}},
        {{"max_id", pl::byte_size{1 << 20}}});
}

TEST_CASE("bad input: times") {
  const auto as_row = row_at("2026-11-24T18:00:00Z");
  const auto beyond = "outside the years 1677 to 2262";
  check({{"missing", R"({"user_id":"u1","device_id":"d7"})",
          "'time' is missing; to use the time of the message, set time.missing: message_time"},
         {"null", at("null"), "'time' is missing"},
         {"seconds", at("1795543200"), as_row},
         {"milliseconds", at("1795543200000"), as_row},
         {"microseconds", at("1795543200000000"), as_row},
         {"nanoseconds", at("1795543200000000000"), as_row},
         {"seconds with a fraction", at("1795543200.25"), row_at("2026-11-24T18:00:00.25Z")},
         {"ISO 8601 with zone", at("\"2026-11-24T19:00:00+01:00\""), as_row},
         {"ISO 8601 without zone", at("\"2026-11-24T18:00:00\""), as_row},
         {"ISO 8601 with comma", at("\"2026-11-24T18:00:00,5Z\""), row_at("2026-11-24T18:00:00.5Z")},
         {"leap second", at("\"2016-12-31T23:59:60Z\""), row_at("2017-01-01T00:00:00Z")},
         {"second 60 in the middle of a day", at("\"2026-11-24T12:30:60Z\""), "a second 60 that is not a leap second"},
         {"negative", at("-1"), row_at("1969-12-31T23:59:59Z")},
         {"year 1", at("\"0001-01-01T00:00:00Z\""), beyond},
         {"year 9999", at("\"9999-12-31T23:59:59Z\""), beyond},
         {"year 294277", at("\"294277-01-09T04:00:54.775807Z\""), beyond},
         {"year 294277, with a sign", at("\"+294277-01-09T04:00:54Z\""), beyond},
         {"NaN", at("NaN"), "NaN and Infinity are not JSON values"},
         {"NaN as a string", at("\"NaN\""), "'time' is the string \"NaN\": not a time: expected ISO 8601"},
         {"text of digits", at("\"1795543200\""), as_row},
         {"text of digits, milliseconds", at("\"1795543200000\""), as_row},
         {"1e400", at("1e400"), beyond},
         {"-0", at("-0"), row_at("1970-01-01T00:00:00Z")},
         {"2^63", at("9223372036854775808"), beyond},
         {"400 digits", at(std::string(400, '9')), beyond},
         {"day that does not exist", at("\"2026-02-30T00:00:00Z\""), "not a valid date"},
         {"hour that does not exist", at("\"2026-11-24T25:00:00Z\""), "not a valid time of day"},
         {"another order", at("\"24.11.2026 18:00\""), "not a time: expected ISO 8601"},
         {"in words", at("\"yesterday\""), "'time' is the string \"yesterday\": not a time"},
         {"bool", at("true"), "'time' is true: not a time: expected a string or a number"},
         {"object", at("{\"s\":1}"), "'time' is an object: not a time: expected a string or a number"},
         {"empty text", at("\"\""), "an empty text"}});
  check({{"years ago", at("1"), "'time' is 1970-01-01T00:00:01Z: older than time_window.past (3650d)"},
         {"in the year 2200", at("\"2200-01-01T00:00:00Z\""), "further ahead than time_window.future (365d)"}},
        // The good records are inside the window.
        {{"time_window", object({{"past", std::chrono::nanoseconds(std::chrono::days(3650))},
                                 {"future", std::chrono::nanoseconds(std::chrono::days(365))}})}});
}

TEST_CASE("bad input: numbers") {
  const std::string digits(400, '9');
  check({{"1e400", metric("1e400"), "'temperature' is the number 1e400: larger than any 64-bit float"},
         {"-1e400", metric("-1e400"), "larger than any 64-bit float"},
         {"400 digits", metric(digits), "(400 characters): larger than any 64-bit float"},
         {"400 digits and a point", metric("0." + digits), row_metric("1")},
         {"1E-400", metric("1E-400"), "so small that a 64-bit float would round it to 0"},
         {"-0", metric("-0"), row_metric("-0")},
         {"2^63", metric("9223372036854775808"), row_metric("9223372036854775808")},
         {"2^64", metric("18446744073709551616"), row_metric("18446744073709551616")},
         {"2^53+1, in a float", metric("9007199254740993"), "a 64-bit float would round this integer"},
         {"2^53+1 and others in unmapped fields, exact",
          with(R"("a":9007199254740993,"b":[1e400,-0,1E-400],"c":18446744073709551617)"),
          row_with(R"("extra":{"a":9007199254740993,"b":[1e400,-0,1E-400],"c":18446744073709551617})")},
         {"leading zeros", metric("007"), "JSON numbers have no leading zeros"},
         {"Infinity", metric("Infinity"), "NaN and Infinity are not JSON values"},
         {"-Infinity", metric("-Infinity"), "NaN and Infinity are not JSON values"},
         {"NaN", metric("NaN"), "NaN and Infinity are not JSON values"},
         {"hexadecimal", metric("0x1F"), "JSON has no hexadecimal numbers"},
         {"plus sign", metric("+1"), "plus sign"},
         {"no digit before the point", metric(".5"), "expected"},
         {"no digit after the point", metric("1."), "a JSON number"},
         {"comma for a point", metric("21,5"), "expected a key in double quotes"},
         {"separators", metric("1_000"), "expected ',' or '}'"}});
  const config_fields whole{{"metrics", list({"temperature"})},
                            {"columns", list({object({{"name", "n"}, {"type", "int"}})})}};
  check({{"2^53+1", with("\"n\":9007199254740993"), row_with("\"n\":9007199254740993")},
         {"2^63 - 1", with("\"n\":9223372036854775807"), row_with("\"n\":9223372036854775807")},
         {"2^63", with("\"n\":9223372036854775808"), "outside the range of a 64-bit integer"},
         {"2^64", with("\"n\":18446744073709551616"), "outside the range of a 64-bit integer"},
         {"-2^63", with("\"n\":-9223372036854775808"), row_with("\"n\":-9223372036854775808")},
         {"-0", with("\"n\":-0"), row_with("\"n\":0")},
         {"1e400", with("\"n\":1e400"), "outside the range of a 64-bit integer"},
         {"1E-400", with("\"n\":1E-400"), "not a whole number"},
         {"400 digits", with("\"n\":" + digits), "outside the range of a 64-bit integer"}},
        whole);
}

TEST_CASE("bad input: metrics") {
  check({{"string", metric("\"21.5\""),
          "'temperature' is the string \"21.5\": not a number; to accept it, set 'coerce: lenient'"},
         {"string that is not a number", metric("\"hot\""), "'temperature' is the string \"hot\": not a number"},
         {"bool", metric("true"), "'temperature' is true: not a number"},
         {"null", metric("null"), R"({"time":"2026-11-24T18:00:00Z","user_id":"u1","device_id":"d7"})"},
         {"object", metric("{\"value\":21.5}"), "'temperature' is an object: not a number"},
         {"array", metric("[21.5]"), "'temperature' is an array: not a number"}});
  check(
      {{"text, by option", metric("\"21.5\""), row_metric("21.5")},
       {"string with a unit, by option", metric("\"21.5 C\""), "'temperature' is the string \"21.5 C\": not a number"},
       {"bool, by option", metric("true"), "'temperature' is true: not a number"}},
      {{"coerce", "lenient"}});
  const auto unit = object({{"from", list({"metrics.temperature.unit"})}, {"accept", list({"C"})}});
  check({{"wrong unit of a nested metric", with(R"("metrics":{"temperature":{"value":70,"unit":"F"}})"),
          "'temperature' is in the unit \"F\": expected C"},
         {"right unit of a nested metric", with(R"("metrics":{"temperature":{"value":21.5,"unit":"C"}})"), good_row},
         {"unit that is an object", with(R"("metrics":{"temperature":{"value":70,"unit":{}}})"), "in the unit \"{}\""}},
        {{"columns", list({object({{"name", "temperature"},
                                   {"from", list({"metrics.temperature.value", "temperature"})},
                                   {"unit", unit}})})}});
}

TEST_CASE("bad input: input columns") {
  harness h;
  const auto reason = h.one({{"value", {pl::null_cell()}}});
  CHECK(reason.find("there is no payload (a tombstone") != std::string::npos);
  can_be_read(reason);
  // With an option, a record without a time gets the time of its message.
  harness own(config_fields{{"time", object({{"missing", "message_time"}})}});
  CHECK(own.one({{"value", {pl::bytes_cell(R"({"user_id":"u1","device_id":"d7","temperature":21.5})")}},
                 {"time", {pl::time_cell(1'795'543'200'000'000'000)}}}) == good_row);
  // A null or empty key is not an id.
  harness keyed(config_fields{{"ids_from", object({{"key", "{device_id}"}})}});
  const auto payload = pl::bytes_cell(R"({"user_id":"u1","ts":1795543200})");
  for (const auto key : {pl::null_cell(), pl::bytes_cell("")})
    CHECK(keyed.one({{"value", {payload}}, {"key", {key}}}).find("'device_id' is missing") != std::string::npos);
}
