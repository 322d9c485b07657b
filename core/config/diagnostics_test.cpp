// SPDX-License-Identifier: Apache-2.0
#include "config/diagnostics.hpp"

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <string>

using namespace pl::config;

namespace {

std::shared_ptr<source_text> file(std::string text, std::string name = "f.yaml") {
  return std::make_shared<source_text>(source_text::origin::file, std::move(name), std::move(text));
}

std::string one_error(const std::shared_ptr<source_text>& source, std::size_t offset, std::size_t length) {
  diagnostics d;
  d.error({source, offset, length}, "m");
  return d.render();
}

}  // namespace

TEST_CASE("messages are sorted by position, notes follow their message, and all messages are counted") {
  const auto first = file("one: 1\ntwo: 2\nthree: 3\n", "a.yaml");
  const auto second = file("x\n", "b.yaml");
  diagnostics d;
  d.error({first, 14, 5}, "late");
  d.warning({first, 7, 3}, "middle", "do this");
  d.error({second, 0, 1}, "other file");
  d.error({first, 0, 3}, "early").note({first, 14, 5}, "see here");
  d.error(location(first), "the whole file");
  d.error(location(), "nowhere");
  CHECK(d.errors() == 5);
  CHECK(d.warnings() == 1);
  CHECK(d.render() ==
        "a.yaml: error: the whole file\n"
        "a.yaml:1:1: error: early\n"
        "    1 | one: 1\n"
        "      | ^~~\n"
        "a.yaml:3:1: note: see here\n"
        "    3 | three: 3\n"
        "      | ^~~~~\n"
        "a.yaml:2:1: warning: middle; do this\n"
        "    2 | two: 2\n"
        "      | ^~~\n"
        "a.yaml:3:1: error: late\n"
        "    3 | three: 3\n"
        "      | ^~~~~\n"
        "b.yaml:1:1: error: other file\n"
        "    1 | x\n"
        "      | ^\n"
        "error: nowhere\n"
        "5 errors, 1 warning\n");
}

TEST_CASE("no messages render as an empty text") {
  CHECK(diagnostics().render().empty());
  diagnostics d;
  d.warning(location(), "w");
  CHECK(d.render() == "warning: w\n1 warning\n");
  CHECK_FALSE(d.has_errors());
}

TEST_CASE("a note is shown, and is neither an error nor a warning") {
  const auto source = file("a: b");
  diagnostics d;
  d.note({source, 0, 1}, "m", "h");
  CHECK(d.render() == "f.yaml:1:1: note: m; h\n    1 | a: b\n      | ^\n");
  CHECK_FALSE(d.has_errors());
  CHECK(d.warnings() == 0);
  CHECK_FALSE(d.empty());
}

TEST_CASE("color") {
  diagnostics d;
  d.error({file("abc\n"), 0, 3}, "m");
  CHECK(d.render(true) ==
        "\x1b[1mf.yaml:1:1:\x1b[0m \x1b[1;31merror: \x1b[0mm\n"
        "    1 | abc\n"
        "      | \x1b[1;32m^~~\x1b[0m\n"
        "1 error\n");
}

TEST_CASE("the same message at the same position is reported once") {
  const auto source = file("abc\n");
  diagnostics d;
  d.error({source, 0, 3}, "m");
  d.error({source, 0, 3}, "m").note({source, 1, 1}, "dropped");
  CHECK(d.errors() == 1);
  CHECK(d.sorted().front().notes.empty());
}

TEST_CASE("too many messages are counted, not kept") {
  const auto source = file(std::string(1000, 'x'));
  diagnostics d;
  for (std::size_t i = 0; i < 500; ++i) d.error({source, i, 1}, "m");
  CHECK(d.errors() == 500);
  CHECK(d.sorted().size() == diagnostics::max_entries);
  CHECK(d.render().ends_with("... and 300 more that are not shown\n500 errors\n"));
}

TEST_CASE("append keeps notes") {
  const auto source = file("abc\n");
  diagnostics a, b;
  b.error({source, 0, 1}, "m").note({source, 1, 1}, "n");
  a.append(b);
  CHECK(a.errors() == 1);
  CHECK(a.sorted().front().notes.size() == 1);
}

TEST_CASE("carets stand below the marked text") {
  SUBCASE("after characters of several bytes") {
    CHECK(one_error(file("größe: x\n"), 9, 1) == "f.yaml:1:8: error: m\n    1 | größe: x\n      |        ^\n1 error\n");
  }
  SUBCASE("after characters of two columns") {
    CHECK(one_error(file("温度: x\n"), 8, 1) == "f.yaml:1:5: error: m\n    1 | 温度: x\n      |       ^\n1 error\n");
  }
  SUBCASE("at the end of the line, and of the file") {
    CHECK(one_error(file("ab\nc"), 2, 1) == "f.yaml:1:3: error: m\n    1 | ab\n      |   ^\n1 error\n");
    CHECK(one_error(file("ab"), 2, 0) == "f.yaml:1:3: error: m\n    1 | ab\n      |   ^\n1 error\n");
    CHECK(one_error(file(""), 0, 0) == "f.yaml:1:1: error: m\n    1 | \n      | ^\n1 error\n");
  }
  SUBCASE("over several lines: up to the end of the first") {
    CHECK(one_error(file("a: b\n  c\n"), 3, 5) == "f.yaml:1:4: error: m\n    1 | a: b\n      |    ^\n1 error\n");
  }
  SUBCASE("with Windows line ends") {
    CHECK(one_error(file("a: b\r\nc: d\r\n"), 9, 1) == "f.yaml:2:4: error: m\n    2 | c: d\n      |    ^\n1 error\n");
  }
  SUBCASE("in long lines: the part around the mark") {
    const auto shown = one_error(file(std::string(1000, 'a') + "B" + std::string(1000, 'c')), 1000, 1);
    CHECK(shown == "f.yaml:1:1001: error: m\n    1 | ..." + std::string(80, 'a') + "B" + std::string(79, 'c') +
                       "...\n      | " + std::string(83, ' ') + "^\n1 error\n");
  }
}

TEST_CASE("escape sequences in a file are not sent to the terminal") {
  CHECK(one_error(file("a\x1b[31mb\xff\t\xe2\x80\xae"), 0, 1) ==
        "f.yaml:1:1: error: m\n    1 | a\\x1b[31mb\\xff \\u202e\n      | ^\n1 error\n");
  CHECK(one_error(file("a\u200B\U000E0041b"), 8, 1) ==
        "f.yaml:1:4: error: m\n    1 | a\\u200b\\U000e0041b\n      |                  ^\n1 error\n");
  CHECK(printable("a\x1b[2J\nb") == "a\\x1b[2J\\nb");
  CHECK(printable(std::string(100, 'x')) == std::string(80, 'x') + "...");
}

TEST_CASE("secrets in source lines") {
  SUBCASE("hidden bytes, with the caret moved") {
    const auto source = file("k: hunter2, x: y\n");
    source->hide(3, 10);
    CHECK(one_error(source, 12, 1) ==
          "f.yaml:1:13: error: m\n    1 | k: <secret>, x: y\n      |              ^\n1 error\n");
    CHECK(one_error(source, 3, 7) == "f.yaml:1:4: error: m\n    1 | k: <secret>, x: y\n      |    ^~~~~~~~\n1 error\n");
  }
  SUBCASE("hidden over several lines") {
    const auto source = file("k: |\n  hunter2\n  more\nx: y\n");
    source->hide(3, 20);
    CHECK(one_error(source, 7, 1).find("hunter2") == std::string::npos);
    CHECK(one_error(source, 17, 1).find("more") == std::string::npos);
  }
  const auto shown = [](std::string line) { return one_error(file(std::move(line)), 0, 1); };
  SUBCASE("passwords in URLs") {
    CHECK(shown("url: postgres://u:hunter2@h/d").find("u:<secret>@h/d") != std::string::npos);
    CHECK(shown("url: \"mqtt://u:hunt@er2@h\" # x").find("u:<secret>@h\"") != std::string::npos);
    CHECK(shown("url: mqtt://u:${PW}@h").find("u:${PW}@h") != std::string::npos);
    CHECK(shown("url: http://h:80/a").find("http://h:80/a") != std::string::npos);
  }
  SUBCASE("the value of a key that names a secret") {
    for (const auto* line :
         {"password: hunter2", "DB_PASSWORD=hunter2", "{a: b, sasl.password: hunter2, c: d}", "api-key: \"hunter2\"",
          "auth_token: 'hunter2'", "secret: hunter2 hunter2", "url: host=x password=hunter2 user=y",
          "\"password\": \"hunter2\"}", "passwords: [hunter2]"}) {
      CAPTURE(line);
      CHECK(shown(line).find("hunter2") == std::string::npos);
    }
    CHECK(shown("{a: b, password: hunter2, c: d}").find("{a: b, password: <secret>, c: d}") != std::string::npos);
    CHECK(shown("password: ${PW}").find("${PW}") != std::string::npos);
    CHECK(shown("password: \"${PW}\"").find("${PW}") != std::string::npos);
    CHECK(shown("password: ${PW:-hunter2}").find("hunter2") == std::string::npos);
    CHECK(shown("tokens_per_second: 5").find("tokens_per_second: 5") != std::string::npos);
  }
  SUBCASE("private keys") {
    const auto source =
        file("k: |\n  -----BEGIN RSA PRIVATE KEY-----\n  aGVsbG8\n  -----END RSA PRIVATE KEY-----\nx\n");
    CHECK(one_error(source, 41, 1).find("aGVsbG8") == std::string::npos);
  }
  SUBCASE("on the command line") {
    const auto source =
        std::make_shared<source_text>(source_text::origin::command_line, "--set", "sinks.s.password=hunter2");
    diagnostics d;
    d.error({source, 0, 5}, "m");
    CHECK(d.render() == "--set sinks.s.password=<secret>: error: m\n1 error\n");
  }
  SUBCASE("in messages") { CHECK(printable("mqtt://u:hunter2@h") == "mqtt://u:<secret>@h"); }
}
