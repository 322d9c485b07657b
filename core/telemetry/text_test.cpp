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
  CHECK(json("a\u200Bb\U000E0041") == R"("a\u200bb\udb40\udc41")");
  CHECK(json("a\xC2\x9B\u202Eb\u2066c\u200F\u2028\uFEFF") == R"("a\u009b\u202eb\u2066c\u200f\u2028\ufeff")");
}

TEST_CASE("each byte of invalid UTF-8 is replaced by U+FFFD") {
  CHECK(json("a\xFFz") == "\"a\uFFFDz\"");
  CHECK(json("\xC3") == "\"\uFFFD\"");                                // truncated
  CHECK(json("\xC0\xAF") == "\"\uFFFD\uFFFD\"");                      // overlong
  CHECK(json("\xED\xA0\x80") == "\"\uFFFD\uFFFD\uFFFD\"");            // surrogate
  CHECK(json("\xF4\x90\x80\x80") == "\"\uFFFD\uFFFD\uFFFD\uFFFD\"");  // beyond U+10FFFF
  CHECK(json("\xE6\xB8z") == "\"\uFFFD\uFFFDz\"");
}

TEST_CASE("control characters are escaped") {
  CHECK(printable("\x1b[2J\r\x07") == "\\x1b[2J\\x0d\\x07");
  CHECK(printable("\xC2\x9B"
                  "31m") == "\\x9b31m");        // CSI as one C1 character
  CHECK(printable("a\u202Eb") == "a\\u202eb");  // right-to-left override
  CHECK(printable("a\u2028b\uFEFF") == "a\\u2028b\\ufeff");
  CHECK(printable("a\u200Bb\u2060\U000E0041") == "a\\u200bb\\u2060\\U000e0041");  // zero-width space, word joiner, tag
  CHECK(printable("two\nlines\tü") == "two\nlines\tü");
}

TEST_CASE("cut text ends with a whole character") {
  CHECK(cut_columns("abcdef", 6) == "abcdef");
  CHECK(cut_columns("abcdef", 4) == "abc…");
  CHECK(cut_columns("üöäß", 3) == "üö…");
  CHECK(cut_columns("ab", 1) == "…");
  CHECK(cut_columns("ab", 0) == "");
}

}  // namespace
}  // namespace pl::telemetry
