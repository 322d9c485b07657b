// SPDX-License-Identifier: Apache-2.0
#include "../table.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>

namespace {

const pl_plugin& plugin() {
  static const pl_plugin* loaded = [] {
    std::string error;
    const auto* p =
        pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/console_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *loaded;
}
const pl_component& console_sink() { return *pl::testing::find_component(plugin(), "console_sink"); }

// Redirect standard output to `fd` while `body` runs.
void with_stdout(int fd, const std::function<void()>& body) {
  std::fflush(stdout);
  const int saved = ::dup(1);
  ::dup2(fd, 1);
  body();
  std::fflush(stdout);
  ::dup2(saved, 1);
  ::close(saved);
}

std::string output_of(const std::function<void()>& body) {
  pl::testing::temp_dir dir;
  const int fd = ::open((dir / "out").c_str(), O_CREAT | O_RDWR, 0600);
  with_stdout(fd, body);
  ::close(fd);
  return pl::testing::read_file(dir / "out");
}

pl::batch rows(pl::testing::fake_host& host) {
  return host.make_batch({{"device", {pl::text_cell("a"), pl::text_cell("bb")}},
                          {"temperature", {pl::real_cell(21.5), pl::null_cell()}},
                          {"note", {pl::text_cell("x\ny"), pl::text_cell("ok")}}});
}

}  // namespace

TEST_CASE("NDJSON is written in order with the program's own output") {
  pl::testing::fake_host host;
  pl::testing::instance sink(host, console_sink());
  REQUIRE(sink.create() == PL_OK);
  REQUIRE(sink.start() == PL_OK);
  auto b = rows(host);
  pl_status status = -1;
  const auto out = output_of([&] {
    std::fputs("before\n", stdout);
    status = sink.write(b.get());
    std::fputs("after\n", stdout);
  });
  CHECK(status == PL_OK);
  CHECK(out ==
        "before\n{\"device\":\"a\",\"temperature\":21.5,\"note\":\"x\\ny\"}\n{\"device\":\"bb\",\"note\":\"ok\"}"
        "\nafter\n");
}

TEST_CASE("a table: aligned, without colors if there is no terminal, with a heading for each set of columns") {
  pl::testing::fake_host host;
  pl::testing::instance sink(host, console_sink(), {{"format", "text"}});
  REQUIRE(sink.create() == PL_OK);
  auto b = rows(host);
  auto other = host.make_batch({{"n", {pl::int_cell(7)}}});
  const auto out = output_of([&] { CHECK(sink.write({b.get(), b.get(), other.get()}) == PL_OK); });
  CHECK(out ==
        "device  temperature  note\n"
        "a              21.5  x\\x0ay\n"
        "bb      -            ok\n"
        "a              21.5  x\\x0ay\n"
        "bb      -            ok\n"
        "\n"
        "n\n"
        "7\n");
}

TEST_CASE("colors if they are requested") {
  pl::testing::fake_host host;
  auto b = host.make_batch({{"n", {pl::null_cell()}}});
  std::string out;
  console::table(true, 40).append(out, b.get());
  CHECK(out == "\x1B[1mn\x1B[0m\n\x1B[2m-\x1B[0m\n");
}

TEST_CASE("control characters are escaped, and long values are truncated") {
  CHECK(console::printable("\x1B]0;title\x07", 40) == "\\x1b]0;title\\x07");
  CHECK(console::printable("\xC2\x9B"
                           "31m",
                           40) == "\\xc2\\x9b31m");
  CHECK(console::printable("\xFF", 40) == "\\xff");
  CHECK(console::printable("\xC3\xA9t\xC3\xA9", 3) == "\xC3\xA9t\xC3\xA9");
  CHECK(console::printable("12345", 4) == "123\xE2\x80\xA6");
}

TEST_CASE("device-controlled text cannot control the terminal, in either format") {
  // A right-to-left override, a C1 control (CSI), DEL, an isolate, a line separator, a zero-width space, a tag, a variation
  // selector.
  const std::string hostile =
      "a\xE2\x80\xAE\xC2\x9B"
      "2J\x7F\xE2\x81\xA6\xE2\x80\xA8\u200B\U000E0041\U000E0100z";
  for (const auto* format : {"text", "ndjson"}) {
    CAPTURE(format);
    pl::testing::fake_host host;
    pl::testing::instance sink(host, console_sink(), {{"format", format}, {"max_width", 200}});
    REQUIRE(sink.create() == PL_OK);
    const auto batch = host.make_batch({{hostile, {pl::text_cell(hostile)}}});
    const auto out = output_of([&] { CHECK(sink.write(batch.get()) == PL_OK); });
    for (const auto* bad :
         {"\xE2\x80\xAE", "\xC2\x9B", "\x7F", "\xE2\x81\xA6", "\xE2\x80\xA8", "\u200B", "\U000E0041", "\U000E0100"})
      CHECK(out.find(bad) == std::string::npos);
    CHECK(out.find("2J") != std::string::npos);
  }
}

TEST_CASE("a closed pipe is a fatal error with a message, and does not end the program") {
  pl::testing::fake_host host;
  pl::testing::instance sink(host, console_sink());
  REQUIRE(sink.create() == PL_OK);
  auto b = rows(host);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  pl_status status = -1;
  with_stdout(ends[1], [&] { status = sink.write(b.get()); });
  ::close(ends[1]);
  CHECK(status == PL_FATAL);
  CHECK(host.error_text().find("standard output is closed: the program that read it has ended") == 0);
}

TEST_CASE("the sink waits for a slow reader on a non-blocking pipe") {
  pl::testing::fake_host host;
  pl::testing::instance sink(host, console_sink());
  REQUIRE(sink.create() == PL_OK);
  const std::string big(300'000, 'x');
  auto b = host.make_batch({{"v", {pl::text_cell(big)}}});
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  std::size_t got = 0;
  std::thread reader([&] {
    std::string buffer(4096, '\0');
    for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) > 0;) got += static_cast<std::size_t>(n);
  });
  pl_status status = -1;
  with_stdout(ends[1], [&] { status = sink.write(b.get()); });
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  CHECK(status == PL_OK);
  CHECK(got == big.size() + 9);
}

TEST_CASE("conformance") {
  for (const auto& p : pl::testing::check_plugin(plugin())) FAIL_CHECK(p);
  for (const char* format : {"ndjson", "text"}) {
    pl::testing::problems found;
    output_of([&] { found = pl::testing::check_life(console_sink(), {{"format", format}}); });
    for (const auto& p : found) FAIL_CHECK(p);
  }
}
