// SPDX-License-Identifier: Apache-2.0
// Tests of max_age: dropping whole files, behavior of the clocks, and the ranges for the host.
#include <pipeline/testing/fake_host.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <spool_common/spooled.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

// A machine with simulated clocks. They start at the real wall clock, because files have modification times by that
// clock.
struct machine {
  spool::nanoseconds up{1000s};
  spool::nanoseconds jump{0};
  std::string boot = "first";
  spool::clocks real = spool::clocks::system();

  spool::clocks clocks() {
    return {[this] { return up; }, [this] { return real.wall() + (up - 1000s) + jump; }, [this] { return boot; }};
  }
};

struct opened {
  std::unique_ptr<spool::log> log;
  std::vector<std::string> reported;
  spool::notice notice = [this](spool::severity, std::string_view text) { reported.emplace_back(text); };
};

std::unique_ptr<opened> open(const fs::path& folder, machine& m, spool::nanoseconds max_age = 60s) {
  auto o = std::make_unique<opened>();
  auto made = spool::log::open({.folder = folder,
                                .fsync = spool::durability::never,
                                .segment_bytes = 1024,
                                .max_age = max_age,
                                .time = m.clocks()},
                               o->notice);
  REQUIRE(made.ok());
  o->log = std::move(*made);
  return o;
}

void append(spool::log& to, int n, std::size_t size = 100) {
  const std::string body(size, 'x');
  const std::array<std::string_view, 1> parts{body};
  for (; n > 0; --n) REQUIRE(to.append(parts).ok());
}

std::vector<std::uint64_t> numbers(opened& o, std::uint64_t from) {
  std::vector<std::uint64_t> found;
  const auto next = o.log->read(
      from, 1000,
      [&](std::uint64_t number, std::string_view) {
        found.push_back(number);
        return true;
      },
      o.notice);
  REQUIRE(next.ok());
  return found;
}

}  // namespace

TEST_CASE("whole files whose newest record is too old are dropped and reported with their numbers") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m);
  append(*o->log, 30);  // 0 to 29, ten in a file
  m.up += 50s;
  append(*o->log, 15);  // 30 to 44
  const auto before = o->log->bytes();
  CHECK(o->log->expire(0, o->notice) == 0);
  m.up += 15s;
  CHECK(o->log->expire(0, o->notice) == 30);
  CHECK(o->reported ==
        std::vector<std::string>{
            "LOST: records 0 to 29 (30 records) waited for longer than max_age (60 s) and were dropped"});
  CHECK(o->log->begin() == 30);
  CHECK(o->log->bytes() < before / 2);
  const auto left = numbers(*o, 30);
  REQUIRE(left.size() == 15);
  CHECK(left.front() == 30);
  CHECK(o->log->expire(30, o->notice) == 30);
}

TEST_CASE("a file is dropped when its newest record is too old, not its oldest") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m);
  append(*o->log, 5);
  m.up += 59s;
  append(*o->log, 1);
  m.up += 59s;
  CHECK(o->log->expire(0, o->notice) == 0);
  m.up += 3s;
  CHECK(o->log->expire(0, o->notice) == 6);  // the last file, too: a new one is started
  append(*o->log, 1);
  CHECK(numbers(*o, 6) == std::vector<std::uint64_t>{6});
  CHECK(o->log->end() == 7);
}

TEST_CASE("without max_age no record expires") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m, 0s);
  append(*o->log, 30);
  m.up += 100'000h;
  CHECK(o->log->expire(0, o->notice) == 0);
  CHECK(numbers(*o, 0).size() == 30);
}

TEST_CASE("records that were read but are not settled are kept, also over a restart") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m);
  append(*o->log, 45);
  m.up += 100s;
  CHECK(o->log->expire(15, o->notice) == 45);
  CHECK(numbers(*o, 0).size() == 20);  // files with records that were read are kept whole
  CHECK(numbers(*o, 45).empty());
  append(*o->log, 3);
  o.reset();
  m.up += 1s;
  o = open(dir.path(), m);
  CHECK(o->reported.empty());  // an expired gap is not reported as damage
  CHECK(numbers(*o, 45).size() == 3);
  o->log->settle(45);
  CHECK(o->log->begin() == 45);
}

TEST_CASE("a restart of the host does not change ages") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m);
  append(*o->log, 30);
  o.reset();
  m.up += 40s;
  o = open(dir.path(), m);
  CHECK(o->log->expire(0, o->notice) == 0);
  o.reset();
  m.up += 25s;
  o = open(dir.path(), m);
  CHECK(o->log->expire(0, o->notice) == 30);
}

TEST_CASE("a wall clock that jumps forward or back does not increase ages") {
  for (const spool::nanoseconds jump : {spool::nanoseconds(24h * 365 * 50), spool::nanoseconds(-24h * 365 * 50)}) {
    pl::testing::temp_dir dir;
    machine m;
    auto o = open(dir.path(), m);
    append(*o->log, 30);
    m.up += 10s;
    m.jump = jump;
    CHECK(o->log->expire(0, o->notice) == 0);  // with the log open
    o.reset();
    o = open(dir.path(), m);  // and after a restart
    CHECK(o->log->expire(0, o->notice) == 0);
    o.reset();
    m.jump = 0s;  // corrected while the log is closed
    o = open(dir.path(), m);
    CHECK(o->log->expire(0, o->notice) == 0);
    m.up += 61s;
    CHECK(o->log->expire(0, o->notice) == 30);
  }
}

TEST_CASE("ages restart after a boot, because the clock may be wrong") {
  pl::testing::temp_dir dir;
  machine m;
  auto o = open(dir.path(), m);
  append(*o->log, 30);
  o.reset();
  m.boot = "second";
  m.up = 5s;
  m.jump = 24h * 365;
  o = open(dir.path(), m);
  CHECK(o->log->expire(0, o->notice) == 0);
  m.up += 61s;
  CHECK(o->log->expire(0, o->notice) == 30);
}

TEST_CASE("an expired gap belongs to the range of the next records, or is a range without records") {
  pl::testing::temp_dir dir;
  pl::testing::fake_host host;
  const auto state = dir.path().string();
  host.raw().state_dir = pl::borrow(state);
  spool::options given;
  given.max_age = 2s;  // longer than an append and a read may be delayed on a busy machine
  given.fsync = spool::durability::never;
  spool::spooled source(pl::context(&host.raw()), given, "test");
  REQUIRE(source.open().ok());
  const auto* schema = pl::context(&host.raw()).schema({"value"});
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  std::uint32_t rows = 0;
  const auto poll = [&](std::uint32_t max_rows) {
    source.tend();
    auto b = source.read({max_rows, 1 << 20, 0ns}, schema, [](auto&&...) { return INT64_MIN; });
    if (!b.ok()) return;
    for (const auto& r : b->get().ranges()) ranges.emplace_back(r.first, r.next);
    rows += b->get().rows();
  };
  append(*source.own(), 10);
  poll(4);  // 0 to 3
  std::this_thread::sleep_for(2300ms);
  poll(100);  // 4 to 9 are expired
  append(*source.own(), 5);
  poll(2);
  std::this_thread::sleep_for(2300ms);
  source.tend();
  append(*source.own(), 1);
  poll(100);
  using range = std::pair<std::uint64_t, std::uint64_t>;
  CHECK(ranges == std::vector<range>{{0, 4}, {4, 10}, {10, 12}, {12, 16}});
  CHECK(rows == 4 + 0 + 2 + 1);
  CHECK(host.sum("spool_expired_total") == 6 + 3);
  int lost = 0;
  for (const auto& l : host.logs()) lost += l.level == PL_LOG_ERROR && l.message.starts_with("LOST");
  CHECK(lost == 2);
  source.close();
}
