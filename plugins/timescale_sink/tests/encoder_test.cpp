// SPDX-License-Identifier: Apache-2.0
// The expected bytes are from the send functions of PostgreSQL 15: SELECT encode(numeric_send(...), 'hex').
#include "encoder.hpp"

#include <pipeline/testing/fake_host.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

using namespace timescale;

namespace {

std::string hex(std::string_view bytes) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

// Encode one cell for one column. Return the length in decimal and the bytes in hexadecimal, or the reason for
// rejection.
struct encoded {
  std::string bytes, why;
  std::size_t left = 0;  // bytes in the buffer after a rejection
};

encoded encode(wire type, pl::cell value, const char* sql = "its type", std::uint32_t max_characters = 0,
               bool not_null = false) {
  pl::testing::fake_host host;
  row_encoder encoder({{0, type, not_null, max_characters, "field", "column", sql}});
  const auto batch = host.make_batch({{"field", {value}}});
  encoder.bind(batch.get());
  byte_buffer out;
  if (!encoder.append(out, 0)) return {{}, encoder.why(), out.size()};
  auto bytes = out.bytes();
  CHECK(hex(bytes.substr(0, 2)) == "0001");
  bytes.remove_prefix(2);
  const auto length = hex(bytes.substr(0, 4));
  bytes.remove_prefix(4);
  if (length == "ffffffff") return {"null", {}, 0};
  CHECK(std::stoul(length, nullptr, 16) == bytes.size());
  return {hex(bytes), {}, 0};
}

std::string bytes(wire type, pl::cell value) {
  const auto e = encode(type, value);
  CHECK_MESSAGE(e.why.empty(), e.why);
  return e.bytes;
}

std::string why(wire type, pl::cell value) {
  const auto e = encode(type, value);
  CHECK(e.bytes == "");
  CHECK(e.left == 0);
  return e.why;
}

}  // namespace

TEST_CASE("COPY data has the documented header and trailer") {
  CHECK(hex(copy_header) == "5047434f50590aff0d0a000000000000000000");
  CHECK(hex(copy_trailer) == "ffff");
}

TEST_CASE("null is encoded, and rejected by NOT NULL columns") {
  for (const auto type :
       {wire::boolean, wire::int8, wire::float8, wire::numeric, wire::timestamp, wire::text, wire::jsonb})
    CHECK(encode(type, pl::null_cell()).bytes == "null");
  CHECK(encode(wire::text, pl::null_cell(), "text", 0, true).why ==
        "'field' is null: column 'column' (text) does not accept nulls");
}

TEST_CASE("boolean accepts only booleans") {
  CHECK(bytes(wire::boolean, pl::bool_cell(true)) == "01");
  CHECK(bytes(wire::boolean, pl::bool_cell(false)) == "00");
  CHECK(why(wire::boolean, pl::int_cell(1)) ==
        "'field' is the number 1: column 'column' (its type) accepts only true and false");
  CHECK(why(wire::boolean, pl::text_cell("true")).find("accepts only true and false") != std::string::npos);
}

TEST_CASE("integers are encoded within their limits") {
  CHECK(bytes(wire::int2, pl::int_cell(-2)) == "fffe");
  CHECK(bytes(wire::int2, pl::int_cell(32767)) == "7fff");
  CHECK(bytes(wire::int2, pl::int_cell(-32768)) == "8000");
  CHECK(bytes(wire::int4, pl::int_cell(-2147483648LL)) == "80000000");
  CHECK(bytes(wire::int8, pl::int_cell(1234567890123)) == "0000011f71fb04cb");
  CHECK(bytes(wire::int8, pl::int_cell(std::numeric_limits<std::int64_t>::min())) == "8000000000000000");
  CHECK(bytes(wire::int8, pl::int_cell((1LL << 53) + 1)) == "0020000000000001");
  CHECK(bytes(wire::int4, pl::real_cell(-7.0)) == "fffffff9");
  CHECK(bytes(wire::int8, pl::real_cell(-0x1p63)) == "8000000000000000");

  CHECK(why(wire::int2, pl::int_cell(32768)) ==
        "'field' is the number 32768: column 'column' (its type) cannot store a number of this size");
  CHECK(why(wire::int4, pl::int_cell(2147483648LL)).find("of this size") != std::string::npos);
  CHECK(why(wire::int4, pl::real_cell(21.5)) ==
        "'field' is the number 21.5: column 'column' (its type) accepts only whole numbers");
  CHECK(why(wire::int8, pl::real_cell(0x1p63)).find("of this size") != std::string::npos);
  CHECK(why(wire::int8, pl::real_cell(1e308)).find("of this size") != std::string::npos);
  CHECK(why(wire::int8, pl::bool_cell(true)) ==
        "'field' is true: column 'column' (its type) accepts only whole numbers");
  CHECK(why(wire::int8, pl::text_cell("12")) ==
        "'field' is the text \"12\": column 'column' (its type) accepts only whole numbers");
}

TEST_CASE("reals are encoded within their limits") {
  CHECK(bytes(wire::float8, pl::real_cell(21.5)) == "4035800000000000");
  CHECK(bytes(wire::float8, pl::real_cell(-0.0)) == "8000000000000000");
  CHECK(bytes(wire::float8, pl::int_cell(-3)) == "c008000000000000");
  CHECK(bytes(wire::float4, pl::real_cell(21.5)) == "41ac0000");
  CHECK(why(wire::float4, pl::real_cell(1e39)).find("of this size") != std::string::npos);
  CHECK(why(wire::float8, pl::text_cell("abc")) ==
        "'field' is the text \"abc\": column 'column' (its type) accepts only numbers");
  CHECK(why(wire::float8, pl::time_cell(0)) ==
        "'field' is the time 1970-01-01T00:00:00Z: column 'column' (its type) accepts only numbers");
  CHECK(why(wire::float8, pl::json_cell("{\"a\":1}")) ==
        "'field' is the JSON {\"a\":1}: column 'column' (its type) accepts only numbers");
}

TEST_CASE("numeric keeps every digit") {
  const auto numeric = [](std::string_view text) { return bytes(wire::numeric, pl::text_cell(text)); };
  CHECK(numeric("0") == "0000000000000000");
  CHECK(numeric("-0") == "0000000000000000");
  CHECK(numeric("1") == "00010000000000000001");
  CHECK(numeric("-1") == "00010000400000000001");
  CHECK(numeric("10000") == "00010001000000000001");
  CHECK(numeric("9999") == "0001000000000000270f");
  CHECK(numeric("12345678") == "000200010000000004d2162e");
  CHECK(numeric("0.0001") == "0001ffff000000040001");
  CHECK(numeric("0.00012") == "0002ffff00000005000107d0");
  CHECK(numeric("1234.5") == "000200000000000104d21388");
  CHECK(numeric("-12.50") == "0002000040000002000c1388");
  CHECK(numeric("1e20") == "00010005000000000001");
  CHECK(numeric("1e-5") == "0001fffe0000000503e8");
  CHECK(numeric("0.10") == "0001ffff0000000203e8");
  CHECK(numeric("123456789012345678901234567890.123") == "0009000700000003000c0d801ed204d2162e23340d801ed204ce");
  CHECK(numeric("1e400") == "00010064000000000001");
  CHECK(numeric("000100000000") == "00010002000000000001");

  CHECK(bytes(wire::numeric, pl::real_cell(1234.5)) == "000200000000000104d21388");
  CHECK(bytes(wire::numeric, pl::real_cell(1e20)) == "00010005000000000001");
  CHECK(bytes(wire::numeric, pl::int_cell(-1)) == "00010000400000000001");
  CHECK(bytes(wire::numeric, pl::json_cell("12345678")) == "000200010000000004d2162e");
  for (const auto* wrong : {"", "-", ".", "abc", "1e", "1e+", "0x10", "1 ", " 1", "1,5", "NaN", "Infinity", "1e131072",
                            "1e-16384", "1e9999999999", "1.2.3"})
    CHECK_MESSAGE(why(wire::numeric, pl::text_cell(wrong)).find("accepts only numbers") != std::string::npos, wrong);
  CHECK(why(wire::numeric, pl::bool_cell(true)).find("accepts only numbers") != std::string::npos);
}

TEST_CASE("times are rounded to the nearest microsecond") {
  constexpr std::int64_t t = 1'795'543'823'500'000'000;
  CHECK(bytes(wire::timestamp, pl::time_cell(t)) == "00030408648f62e0");
  CHECK(bytes(wire::timestamp, pl::time_cell(t + 499)) == "00030408648f62e0");
  CHECK(bytes(wire::timestamp, pl::time_cell(t + 500)) == "00030408648f62e1");
  CHECK(bytes(wire::timestamp, pl::time_cell(t - 500)) == "00030408648f62e0");
  CHECK(bytes(wire::timestamp, pl::time_cell(t - 501)) == "00030408648f62df");
  CHECK(bytes(wire::timestamp, pl::time_cell(0)) == "fffca2fec4c82000");
  CHECK(bytes(wire::timestamp, pl::time_cell(-1000)) == "fffca2fec4c81fff");
  CHECK(bytes(wire::timestamp, pl::time_cell(std::numeric_limits<std::int64_t>::min())) == "ffdbde631ee4cc08");
  CHECK(bytes(wire::timestamp, pl::text_cell("2026-11-24T18:10:23.5Z")) == "00030408648f62e0");
  CHECK(bytes(wire::timestamp, pl::text_cell("0001-01-01T00:00:00Z")) == "ff1fe2ffc59c6000");
  CHECK(why(wire::timestamp, pl::int_cell(1)) ==
        "'field' is the number 1: column 'column' (its type) accepts only times");
  CHECK(why(wire::timestamp, pl::text_cell("294277-01-01T00:00:00Z")).find("years from 0001 to 9999") !=
        std::string::npos);

  CHECK(bytes(wire::date, pl::time_cell(t)) == "00002660");
  CHECK(bytes(wire::date, pl::time_cell(-1)) == "ffffd532");
  CHECK(bytes(wire::date, pl::time_cell(-86'400'000'000'000)) == "ffffd532");
  CHECK(bytes(wire::date, pl::text_cell("1969-12-31")) == "ffffd532");
  CHECK(why(wire::date, pl::text_cell("31.12.1969")).find("dates as text") != std::string::npos);
}

TEST_CASE("text is encoded, and rejected if PostgreSQL cannot store it") {
  CHECK(bytes(wire::text, pl::text_cell("")) == "");
  CHECK(bytes(wire::text, pl::text_cell("a'\"\\\t\n\\.")) == "6127225c090a5c2e");
  CHECK(bytes(wire::text, pl::bytes_cell("caf\xC3\xA9")) == "636166c3a9");
  CHECK(bytes(wire::text, pl::int_cell(17)) == hex("17"));
  CHECK(bytes(wire::text, pl::real_cell(0.1)) == hex("0.1"));
  CHECK(bytes(wire::text, pl::bool_cell(true)) == hex("true"));
  CHECK(bytes(wire::text, pl::json_cell("[1]")) == hex("[1]"));
  CHECK(bytes(wire::text, pl::time_cell(0)) == hex("1970-01-01T00:00:00Z"));

  CHECK(why(wire::text, pl::text_cell(std::string_view("a\0b", 3))) ==
        "'field' is the text \"a\\u0000b\": column 'column' (its type) cannot store the NUL byte in the text");
  CHECK(why(wire::text, pl::bytes_cell("\xFF")) ==
        "'field' is 1 bytes: column 'column' (its type) accepts only valid UTF-8");
  CHECK(why(wire::text, pl::text_cell("\xC3")) ==
        "'field' is a text of 1 bytes: column 'column' (its type) accepts only valid UTF-8");
  CHECK(encode(wire::text, pl::text_cell("abcd"), "varchar(3)", 3).why ==
        "'field' is the text \"abcd\": column 'column' (varchar(3)) accepts at most 3 characters");
  CHECK(encode(wire::text, pl::text_cell("\xC3\xA4\xC3\xB6\xC3\xBC  "), "varchar(3)", 3).why == "");
  const std::string big(70'000, 'x');
  CHECK(encode(wire::text, pl::text_cell(big), "varchar(3)", 3).why.size() < 200);
}

TEST_CASE("JSON is encoded for json and jsonb") {
  CHECK(bytes(wire::jsonb, pl::json_cell("{\"a\":1}")) == "01" + hex("{\"a\":1}"));
  CHECK(bytes(wire::json, pl::json_cell("{\"a\":1}")) == hex("{\"a\":1}"));
  CHECK(bytes(wire::jsonb, pl::text_cell("a\"b")) == "01" + hex("\"a\\\"b\""));
  CHECK(bytes(wire::jsonb, pl::int_cell(-5)) == "01" + hex("-5"));
  CHECK(bytes(wire::jsonb, pl::real_cell(0.5)) == "01" + hex("0.5"));
  CHECK(bytes(wire::jsonb, pl::bool_cell(false)) == "01" + hex("false"));
  CHECK(bytes(wire::jsonb, pl::time_cell(0)) == "01" + hex("\"1970-01-01T00:00:00Z\""));
  CHECK(bytes(wire::json, pl::bytes_cell("\xFF")) == hex("{\"base64\":\"/w==\"}"));
  CHECK(why(wire::jsonb, pl::json_cell(R"({"a":"\u0000"})")).find("cannot store the NUL") != std::string::npos);
  CHECK(why(wire::jsonb, pl::text_cell(std::string_view("\0", 1))).find("NUL byte") != std::string::npos);
  CHECK(bytes(wire::json, pl::json_cell(R"({"a":"\u0000"})")) == hex(R"({"a":"\u0000"})"));
}

TEST_CASE("bytes and UUIDs are encoded") {
  CHECK(bytes(wire::bytea, pl::bytes_cell(std::string_view("\0\xFF", 2))) == "00ff");
  CHECK(bytes(wire::bytea, pl::text_cell("ab")) == "6162");
  CHECK(why(wire::bytea, pl::int_cell(1)).find("accepts only bytes and text") != std::string::npos);
  CHECK(bytes(wire::uuid, pl::text_cell("6f1a9c1e-0000-4abc-8def-0123456789ab")) == "6f1a9c1e00004abc8def0123456789ab");
  CHECK(bytes(wire::uuid, pl::bytes_cell("0123456789abcdef")) == hex("0123456789abcdef"));
  CHECK(why(wire::uuid, pl::text_cell("6f1a9c1e")).find("accepts only UUIDs") != std::string::npos);
}

TEST_CASE("a rejected row does not change the rows before it") {
  pl::testing::fake_host host;
  row_encoder encoder({{1, wire::text, false, 0, "b", "b", "text"}, {0, wire::int4, false, 0, "a", "a", "integer"}});
  const auto batch = host.make_batch({{"a", {pl::int_cell(1), pl::text_cell("x"), pl::int_cell(3)}},
                                      {"b", {pl::text_cell("one"), pl::text_cell("two"), pl::null_cell()}}});
  encoder.bind(batch.get());
  byte_buffer out;
  CHECK(encoder.append(out, 0));
  CHECK_FALSE(encoder.append(out, 1));
  CHECK(encoder.append(out, 2));
  CHECK(hex(out.bytes()) ==
        "0002"
        "00000003"
        "6f6e65"
        "00000004"
        "00000001"
        "0002"
        "ffffffff"
        "00000004"
        "00000003");
}

TEST_CASE("a buffer frees the memory of a large row") {
  byte_buffer b;
  b.append(std::string(100'000, 'x'));
  const auto* big = b.bytes().data();
  b.clear(1 << 20);
  b.append("y");
  CHECK(b.bytes().data() == big);  // kept
  b.clear(1000);
  CHECK(b.size() == 0);
  b.put(std::uint32_t{0xABCD});
  CHECK(hex(b.bytes()) == "0000abcd");
}
