// SPDX-License-Identifier: Apache-2.0
#include "telemetry/progress.hpp"

#include "telemetry/test_timing.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace pl::telemetry {
namespace {

using namespace std::chrono_literals;

pipeline_progress iot(std::uint64_t in, std::uint64_t stored, std::chrono::nanoseconds uptime) {
  return {"iot", in, stored, 12, 3, 4'200, 34u << 20, uptime};
}

TEST_CASE("a queue on disk is shown while there is one") {
  auto now = iot(100, 90, 10s);
  CHECK(format_progress(rates_between({}, {now}).front()).ends_with("  mem 34 MiB"));
  now.disk_bytes = std::uint64_t{1'600'000'000};
  CHECK(format_progress(rates_between({}, {now}).front()).ends_with("  mem 34 MiB  disk 1.5 GiB"));
}

TEST_CASE("numbers") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1'000) == "1,000");
  CHECK(format_count(1'234'567) == "1,234,567");
  CHECK(format_count(UINT64_MAX) == "18,446,744,073,709,551,615");
  CHECK(format_rate(0) == "0");
  CHECK(format_rate(-1) == "0");
  CHECK(format_rate(0.44) == "0.4");
  CHECK(format_rate(9.94) == "9.9");
  CHECK(format_rate(9.96) == "10");
  CHECK(format_rate(12'344.6) == "12,345");
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.0 KiB");
  CHECK(format_bytes(34u << 20) == "34 MiB");
  CHECK(format_bytes((1u << 20) - 1) == "1.0 MiB");
  CHECK(format_bytes(1'600'000'000) == "1.5 GiB");
  CHECK(format_bytes(UINT64_MAX) == "16 EiB");
}

TEST_CASE("rates are differences over the uptime between two snapshots") {
  const auto rates = rates_between({iot(1'000, 900, 10s)}, {iot(3'000, 2'700, 12s)});
  REQUIRE(rates.size() == 1);
  CHECK(rates[0].in_per_second == 1'000);
  CHECK(rates[0].stored_per_second == 900);
}

TEST_CASE("a new or restarted pipeline is averaged over its uptime") {
  CHECK(rates_between({}, {iot(100, 100, 10s)})[0].in_per_second == 10);
  CHECK(rates_between({iot(5'000, 5'000, 60s)}, {iot(20, 20, 2s)})[0].in_per_second == 10);  // restarted
  CHECK(rates_between({iot(5'000, 5'000, 1s)}, {iot(20, 20, 2s)})[0].in_per_second == 10);
  CHECK(rates_between({iot(7, 7, 1s)}, {iot(7, 7, 1s)})[0].in_per_second == 7);  // no time passed
  CHECK(rates_between({}, {iot(7, 7, 0s)})[0].in_per_second == 0);
  CHECK(rates_between({iot(1, 1, 1s)}, {}).empty());
}

TEST_CASE("the line") {
  const pipeline_rates one{iot(0, 0, 1s), 12'345, 12'300};
  const std::string whole = "iot  12,345 rec/s in  12,300 rec/s stored  lag 4,200  alerts 12  rejected 3  mem 34 MiB";
  CHECK(progress_line({&one, 1}, 200) == whole);
  CHECK(progress_line({&one, 1}, whole.size()) == whole);
  CHECK(progress_line({&one, 1}, 20) == "iot  12,345 rec/s i…");
  CHECK(progress_line({}, 80) == "no pipelines");
  auto unknown = one;
  unknown.now.lag.reset();
  CHECK(format_progress(unknown).find("lag ?") != std::string::npos);
  auto dropping = one;
  dropping.now.dropped = 5'000;
  CHECK(format_progress(dropping).find("  rejected 3  dropped 5,000  mem ") != std::string::npos);
}

TEST_CASE("several pipelines are shown side by side, or as a sum") {
  std::vector<pipeline_rates> two{{iot(0, 0, 1s), 1'000, 900}, {iot(0, 0, 1s), 500, 400}};
  two[1].now.pipeline = "bridge";
  two[1].now.lag.reset();
  CHECK(progress_line(two, 300) ==
        "iot  1,000 rec/s in  900 rec/s stored  lag 4,200  alerts 12  rejected 3  mem 34 MiB"
        "  |  bridge  500 rec/s in  400 rec/s stored  lag ?  alerts 12  rejected 3  mem 34 MiB");
  CHECK(progress_line(two, 100) ==
        "2 pipelines  1,500 rec/s in  1,300 rec/s stored  lag 4,200  alerts 24  rejected 6  mem 68 MiB");
}

void wait_until(const std::atomic<int>& calls, int wanted) {
  for (int i = 0; i < 12'000 && calls < wanted; ++i) std::this_thread::sleep_for(10ms);
}

std::string read_all(int fd) {
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  std::string all;
  std::array<char, 4096> part{};
  for (ssize_t n = 0; (n = ::read(fd, part.data(), part.size())) > 0;) all.append(part.data(), std::size_t(n));
  return all;
}

TEST_CASE("without a terminal: lines in the log, and a failing snapshot is skipped") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  {
    logger log({.fd = ends[1], .repeat_pause = 0ms});
    std::atomic<int> calls = 0;
    progress_reporter reporter(log,
                               [&calls]() -> progress_snapshot {
                                 if (++calls == 1) throw std::runtime_error("not yet");
                                 return {iot(100, 90, 10s)};
                               },
                               {.log_interval = 10ms});
    wait_until(calls, 3);
  }
  const auto text = read_all(ends[0]);
  CHECK(text.find("info  iot: 10 rec/s in  9.0 rec/s stored  lag 4,200") != std::string::npos);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("on a terminal: one line that is updated, and removed at the end") {
  ::setenv("TERM", "xterm", 1);
  int master = -1, slave = -1;
  winsize size{};
  size.ws_col = 40;
  REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
  {
    logger log({.color = color_mode::never, .fd = slave});
    std::atomic<int> calls = 0;
    const auto snapshot = [&calls] { return ++calls, progress_snapshot{iot(100, 90, 10s)}; };
    progress_reporter reporter(log, snapshot, {.terminal_interval = 10ms});
    wait_until(calls, 3);
  }
  const auto text = read_all(master);
  CHECK(text.find("\r\x1b[2Kiot  10 rec/s in  9.0 rec/s stored  la…\r\x1b[2K") != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.ends_with("\r\x1b[2K"));
  ::close(master);
  ::close(slave);
}

TEST_CASE("the reporter stops at once, and ticks the logger even without showing progress") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  CHECK(testing::once_within(500ms, [&] {
    const auto begin = std::chrono::steady_clock::now();
    {
      logger log({.fd = ends[1]});
      progress_reporter reporter(log, [] { return progress_snapshot{}; }, {.log_interval = 0ms});
    }
    return std::chrono::steady_clock::now() - begin;
  }));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace pl::telemetry
