// SPDX-License-Identifier: Apache-2.0
#include "telemetry/text.hpp"

#include <doctest/doctest.h>

namespace pl::telemetry {
namespace {

std::string json(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}
std::string printable(std::string_view text) {
  std::string out;
  append_printable(out, text);
  return out;
}

TEST_CASE("JSON strings are escaped") {
  CHECK(json("plain") == R"("plain")");
  CHECK(json("a\"b\\c\n\r\t") == R"("a\"b\\c\n\r\t")");
  CHECK(json(std::string_view("\0\x1b\x7f", 3)) == R"("\u0000\u001b\u007f")");
  CHECK(json("Zürich 温度 🙂") == "\"Zürich 温度 🙂\"");
}

TEST_CASE("what isn't UTF-8 becomes U+FFFD, byte by byte") {
  CHECK(json("a\xFFz") == "\"a\uFFFDz\"");
  CHECK(json("\xC3") == "\"\uFFFD\"");                                // cut short
  CHECK(json("\xC0\xAF") == "\"\uFFFD\uFFFD\"");                      // overlong
  CHECK(json("\xED\xA0\x80") == "\"\uFFFD\uFFFD\uFFFD\"");            // surrogate
  CHECK(json("\xF4\x90\x80\x80") == "\"\uFFFD\uFFFD\uFFFD\uFFFD\"");  // beyond U+10FFFF
  CHECK(json("\xE6\xB8z") == "\"\uFFFD\uFFFDz\"");
  CHECK(valid_utf8("ok \xF0\x9F\x99\x82 \x80") == "ok 🙂 \uFFFD");
}

TEST_CASE("nothing steers the terminal") {
  CHECK(printable("\x1b[2J\r\x07") == "\\x1b[2J\\x0d\\x07");
  CHECK(printable("\xC2\x9B"
                  "31m") == "\\x9b31m");        // CSI as one C1 character
  CHECK(printable("a\u202Eb") == "a\\u202eb");  // right-to-left override
  CHECK(printable("two\nlines\tü") == "two\nlines\tü");
}

TEST_CASE("cuts leave whole characters") {
  CHECK(cut_bytes("abc", 3) == "abc");
  CHECK(cut_bytes("abü", 3) == "ab");
  CHECK(cut_bytes("🙂🙂", 7) == "🙂");
  CHECK(cut_bytes("🙂", 0) == "");
  CHECK(cut_columns("abcdef", 6) == "abcdef");
  CHECK(cut_columns("abcdef", 4) == "abc…");
  CHECK(cut_columns("üöäß", 3) == "üö…");
  CHECK(cut_columns("ab", 1) == "…");
  CHECK(cut_columns("ab", 0) == "");
  CHECK(count_chars("üöä\xFF") == 4);
}

}  // namespace
}  // namespace pl::telemetry
