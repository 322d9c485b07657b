// SPDX-License-Identifier: Apache-2.0
#include "telemetry/log.hpp"

#include "telemetry/test_timing.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <regex>
#include <thread>
#include <vector>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;

// A pipe or a terminal: the logger writes to `to`, and the test reads the data written so far.
class capture {
 public:
  static capture pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    return capture(ends[0], ends[1]);
  }
  static capture terminal(unsigned short columns) {
    int master = -1, slave = -1;
    winsize size{};
    size.ws_col = columns;
    REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
    return capture(master, slave);
  }
  ~capture() {
    ::close(from_);
    ::close(to_);
  }
  capture(const capture&) = delete;
  capture& operator=(const capture&) = delete;

  int to() const { return to_; }
  std::string text() const {
    std::string all;
    std::array<char, 4096> part{};
    for (ssize_t n = 0; (n = ::read(from_, part.data(), part.size())) > 0;) all.append(part.data(), std::size_t(n));
    return all;
  }

 private:
  capture(int from, int to) : from_(from), to_(to) { ::fcntl(from, F_SETFL, O_NONBLOCK); }
  int from_, to_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end == text.npos ? text.size() : end + 1;
  }
  return lines;
}

TEST_CASE("text format") {
  const auto out = capture::pipe();
  logger log({.fd = out.to()});
  log.info("iot", "store", "connected to {}", "db");
  log.warn("iot", "", "slow");
  log.error("", "", "no pipelines");
  const auto lines = lines_of(out.text());
  REQUIRE(lines.size() == 3);
  CHECK(std::regex_match(lines[0], std::regex(R"(\d\d:\d\d:\d\d\.\d\d\d info  iot/store: connected to db)")));
  CHECK(lines[1].substr(13) == "warn  iot: slow");
  CHECK(lines[2].substr(13) == "error no pipelines");
}

TEST_CASE("JSON is one object per line, in UTC") {
  const auto out = capture::pipe();
  logger log({.format = log_format::json, .fd = out.to()});
  log.log(log_level::warn, "iot", "store", "bad \"row\"\n\xFF");
  log.log(log_level::info, "", "", "host");
  const auto lines = lines_of(out.text());
  REQUIRE(lines.size() == 2);
  const std::regex first(
      R"re(\{"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","level":"warn","pipeline":"iot","node":"store",)re"
      R"re("message":"bad \\"row\\"\\n\xEF\xBF\xBD"\})re");
  CHECK(std::regex_match(lines[0], first));
  CHECK(lines[1].substr(35) == R"("level":"info","message":"host"})");
}

TEST_CASE("levels") {
  const auto out = capture::pipe();
  logger log({.level = log_level::warn, .fd = out.to()});
  CHECK_FALSE(log.log_on(log_level::info));
  CHECK(log.log_on(log_level::error));
  log.info("iot", "store", "not shown");
  CHECK(out.text().empty());
  log.set_level(log_level::trace);
  log.log(log_level::trace, "iot", "store", "shown");
  CHECK(out.text().find("trace iot/store: shown") != std::string::npos);

  CHECK(parse_log_level("debug") == log_level::debug);
  CHECK_FALSE(parse_log_level("verbose"));
  CHECK(parse_log_format("json") == log_format::json);
  CHECK_FALSE(parse_log_format("xml"));
  CHECK(to_log_level(PL_LOG_ERROR) == log_level::error);
  CHECK(to_log_level(99) == log_level::error);
  CHECK(to_log_level(-1) == log_level::trace);
}

TEST_CASE("a message cannot control the terminal or imitate another line") {
  const auto out = capture::pipe();
  logger log({.fd = out.to()});
  log.log(log_level::info, "iot", "store", "a\x1b[2J\n12:00:00.000 error iot: forged");
  const auto lines = lines_of(out.text());
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].substr(13) == "info  iot/store: a\\x1b[2J");
  CHECK(lines[1] == "    12:00:00.000 error iot: forged");
}

TEST_CASE("long messages are cut") {
  const auto out = capture::pipe();
  logger log({.fd = out.to()});
  log.log(log_level::info, "iot", "store", std::string(40'000, 'x'));
  CHECK(out.text().size() < 17'000);
}

TEST_CASE("a flood of one message results in three lines") {
  std::vector<std::string> lines;
  // The flood must be shorter than the pause, and so must the time between the last two lines.
  CHECK(testing::once_within(500ms, [&] {
    const auto out = capture::pipe();
    auto took = 0ns;
    const auto timed = [&took](auto&& action) {
      const auto begin = std::chrono::steady_clock::now();
      action();
      took = std::max<std::chrono::nanoseconds>(took, std::chrono::steady_clock::now() - begin);
    };
    {
      logger log({.fd = out.to(), .repeat_pause = 500ms});
      timed([&] {
        for (int i = 0; i < 100; ++i) log.error("iot", "store", "connection refused");
      });
      std::this_thread::sleep_for(550ms);
      timed([&] {
        log.tick();
        log.error("iot", "store", "connection refused");
      });
    }
    lines = lines_of(out.text());
    return took;
  }));
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].substr(13) == "error iot/store: connection refused");
  CHECK(lines[1].substr(13) == "error iot/store: connection refused (repeated 99 times)");
  CHECK(lines[2].substr(13) == "error iot/store: connection refused (repeated once)");
}

TEST_CASE("colors: on a terminal, unless NO_COLOR") {
  const auto has_color = [](const log_options& options, const capture& out) {
    logger log(options);
    log.warn("iot", "store", "x");
    return out.text().find("\x1b[33mwarn \x1b[0m") != std::string::npos;
  };
  const auto terminal = capture::terminal(80);
  const auto pipe = capture::pipe();
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "xterm", 1);
  CHECK(has_color({.fd = terminal.to()}, terminal));
  CHECK_FALSE(has_color({.fd = pipe.to()}, pipe));
  CHECK(has_color({.color = color_mode::always, .fd = pipe.to()}, pipe));
  ::setenv("NO_COLOR", "1", 1);
  CHECK_FALSE(has_color({.fd = terminal.to()}, terminal));
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "dumb", 1);
  CHECK_FALSE(has_color({.fd = terminal.to()}, terminal));
  ::setenv("TERM", "xterm", 1);
}

TEST_CASE("the status line stays below the log") {
  ::setenv("TERM", "xterm", 1);
  const auto out = capture::terminal(100);
  {
    logger log({.color = color_mode::never, .fd = out.to()});
    REQUIRE(log.interactive());
    CHECK(log.columns() == 100);
    log.status_line("iot  5 rec/s");
    CHECK(out.text() == "\r\x1b[2Kiot  5 rec/s");
    log.info("iot", "store", "hello");
    const auto text = out.text();
    CHECK(text.substr(0, 5) == "\r\x1b[2K");
    CHECK(text.substr(5 + 13) == "info  iot/store: hello\r\niot  5 rec/s");
    log.status_line("iot  6 rec/s");
    CHECK(out.text() == "\r\x1b[2Kiot  6 rec/s");
  }
  CHECK(out.text() == "\r\x1b[2K");
}

TEST_CASE("no status line without a terminal") {
  const auto terminal = capture::terminal(80);
  const auto pipe = capture::pipe();
  logger json({.format = log_format::json, .fd = terminal.to()});
  logger piped({.fd = pipe.to()});
  CHECK_FALSE(json.interactive());
  CHECK_FALSE(piped.interactive());
  CHECK(piped.columns() == 80);
  piped.status_line("x");
  json.status_line("x");
  CHECK(pipe.text().empty());
  CHECK(terminal.text().empty());
}

TEST_CASE("lines of several threads do not mix") {
  const auto out = capture::pipe();
  logger log({.format = log_format::json, .fd = out.to()});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log, t] {
      for (int i = 0; i < 50; ++i) log.info("iot", "store", "{} {}", t, i);
      log.tick();
      log.set_level(log_level::debug);
    });
  }
  for (auto& thread : threads) thread.join();
  const auto lines = lines_of(out.text());
  CHECK(lines.size() == 200);
  for (const auto& line : lines) {
    CHECK(line.front() == '{');
    CHECK(line.back() == '}');
  }
}

TEST_CASE("a closed stderr only loses lines") {
  logger log({.fd = -1});
  log.error("iot", "store", "not written");
  CHECK_FALSE(log.interactive());
}

}  // namespace
}  // namespace pl::telemetry
