// SPDX-License-Identifier: Apache-2.0
// Tests of the arrival clock, with invented times in seconds.
#include "engine/arrival_clock.hpp"

#include "engine/arrival_clocks.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using pl::engine::arrival_clock;
using pl::engine::arrival_clocks;

constexpr std::int64_t s = arrival_clock::second;
constexpr std::int64_t start = 1'800'000'000 * s;  // the first moment of each test

// One clock, with times in seconds since `start`.
struct clock_under_test {
  explicit clock_under_test(bool counts_unread, double now = 0) : clock(counts_unread, at(now)) {}

  static std::int64_t at(double seconds) { return start + static_cast<std::int64_t>(seconds * static_cast<double>(s)); }
  static double seconds(std::int64_t time) { return static_cast<double>(time - start) / static_cast<double>(s); }

  double record(std::uint64_t position, double arrival, double now, bool claimed = false) {
    const auto reading = clock.read_record(position, at(arrival), claimed, at(now));
    clock.read_to(position + 1);
    return seconds(reading);
  }
  void observe(std::uint64_t end, double before, std::uint64_t position) {
    clock.observe(end, at(before), position, at(before + 0.5));
  }
  double reading() { return seconds(clock.reading()); }

  arrival_clock clock;
};

clock_under_test kafka(double now = 0) { return clock_under_test(true, now); }
clock_under_test spool(double now = 0) {
  auto made = clock_under_test(false, now);
  made.clock.connected(clock_under_test::at(now));
  return made;
}

}  // namespace

// --------------------------------------------------------------------------------------------- records, observations ---

TEST_CASE("arrival clock: a record moves it to its arrival, and never back") {
  auto c = kafka();
  CHECK_FALSE(c.clock.started());
  CHECK(c.record(0, 10, 100) == 10);
  CHECK(c.record(1, 12, 100) == 12);
  CHECK(c.record(2, 11, 100) == 12);
  CHECK(c.record(3, 200, 100) == 100);  // from the future: not later than now
  CHECK(c.clock.behind() == 0);
}

TEST_CASE("arrival clock: a stream without records moves when its end is observed") {
  auto c = kafka();
  c.observe(7, 1, 7);
  CHECK(c.reading() == 1);
  c.observe(7, 2, 7);
  CHECK(c.reading() == 2);
}

TEST_CASE("arrival clock: it stands still while an observed end is not read, and follows while the backlog is read") {
  auto c = kafka();
  c.observe(1, 1, 1);
  for (int i = 1; i <= 10; ++i) c.observe(static_cast<std::uint64_t>(1 + i), 1 + i, 1);  // one record each second
  CHECK(c.reading() == 1);
  for (int i = 1; i <= 9; ++i) {
    CHECK(c.record(static_cast<std::uint64_t>(i), 1.5 + i, 12) == 1.5 + i);
    CHECK(c.reading() == 1.5 + i);
  }
  CHECK(c.record(10, 11.5, 12) == 11.5);
}

TEST_CASE("arrival clock: a busy stream that never stands at its end still moves") {
  auto c = kafka();
  for (int i = 1; i <= 20; ++i) {
    c.observe(static_cast<std::uint64_t>(100 * i + 50), i, static_cast<std::uint64_t>(100 * i));
    if (i > 1) CHECK(c.reading() == i - 1);
  }
}

TEST_CASE("arrival clock: an end that is lower than before replaces the higher one") {
  auto c = kafka();
  c.observe(0, 1, 0);
  c.observe(100, 2, 5);  // the topic is created again
  c.observe(5, 3, 5);
  CHECK(c.reading() == 3);
}

TEST_CASE("arrival clock: observations beyond the limit are thinned out, and remain true") {
  auto c = kafka();
  c.observe(0, 0, 0);
  const auto n = 3 * arrival_clock::max_observations;
  for (std::size_t i = 1; i <= n; ++i) c.observe(i, static_cast<double>(i), 0);
  for (std::size_t i = 0; i < n; ++i) {
    const auto truth = static_cast<double>(i) + 0.7;
    const auto reading = c.record(i, truth, static_cast<double>(n) + 1);
    CHECK(reading <= truth + 0.001);
    CHECK(reading >= truth - 8);
  }
  CHECK(c.reading() == doctest::Approx(static_cast<double>(n)).epsilon(0.001));
}

// ------------------------------------------------------------------------------------------------- claimed times ---

TEST_CASE("arrival clock: claimed times are not used while the stream is live") {
  auto c = kafka();
  c.observe(0, 100, 0);
  CHECK(c.record(0, -3600, 100.2, true) == doctest::Approx(100.2));
  CHECK(c.record(1, 7200, 100.4, true) == doctest::Approx(100.4));
  CHECK(c.record(2, 100.3, 100.6, true) == doctest::Approx(100.6));
}

TEST_CASE("arrival clock: in a backlog of a stopped host, one producer with a wrong clock has no influence") {
  for (const double wrong : {-3600.0, 3600.0}) {
    auto c = kafka(1000);
    c.clock.restore(std::to_string(c.at(10)) + " 0 " + std::to_string(INT64_MIN), c.at(1000));
    const auto claimed = [&](std::uint64_t i) { return 10 + static_cast<double>(i) + (i % 3 == 0 ? wrong : 0); };
    for (std::uint64_t i = 0; i < 100; ++i) c.clock.expect_claim(c.at(claimed(i)));
    double last = 10;
    for (std::uint64_t i = 0; i < 900; ++i) {
      const auto truth = 10 + static_cast<double>(i);
      const auto reading = c.record(i, claimed(i), 1000, true);
      CHECK(reading >= last);
      CHECK(reading <= truth + 31);
      if (i > 50) CHECK(reading >= truth - 31);
      last = reading;
    }
  }
}

TEST_CASE("arrival clock: the first record alone does not start the clock") {
  auto c = kafka(1000);
  for (const double t : {-86400.0, 100.0, 101.0, 102.0, 103.0}) c.clock.expect_claim(c.at(t));
  CHECK(c.record(0, -86400, 1000, true) == 101);
}

TEST_CASE("arrival clock: in the backlog of a blocked lane, observations bound claimed times") {
  auto c = kafka();
  c.observe(0, 0, 0);
  for (int i = 1; i <= 15; ++i) c.observe(static_cast<std::uint64_t>(10 * i), i, 0);
  for (std::uint64_t p = 0; p < 150; ++p) {
    const auto truth = static_cast<double>(p) / 10;
    const auto reading = c.record(p, truth - 3600, 16, true);  // all producers are an hour behind
    CHECK(reading <= truth);
    CHECK(reading > truth - 1.2);
  }
  CHECK(c.reading() == 15);
  CHECK(c.clock.behind() == 0);
}

TEST_CASE("arrival clock: records of a stopped host whose producers' clocks are all behind make nobody silent") {
  auto c = kafka(100);
  c.clock.restore(std::to_string(c.at(10)) + " 0 " + std::to_string(INT64_MIN), c.at(100));
  for (std::uint64_t p = 0; p < 90; ++p) CHECK(c.record(p, -3600 + static_cast<double>(p), 100, true) == 10);
  c.observe(90, 100, 90);
  CHECK(c.reading() == 10);
  CHECK(c.clock.behind() == 90 * s);
  CHECK(c.seconds(c.clock.connected_at()) == 10);
}

TEST_CASE("arrival clock: the first records of a stream whose producers' clocks are all behind make nobody silent") {
  auto c = kafka(10'000);
  CHECK(c.record(0, 6400, 10'000, true) == 6400);
  c.observe(1, 10'000.5, 1);
  CHECK(c.reading() == 10'000.5);
  CHECK(c.clock.connected_at() == clock_under_test::at(10'000.5));  // silence is judged after a settling time
  CHECK(c.record(1, 6401, 10'001, true) == 10'001);                 // live: the claim is not needed
  c.observe(2, 10'004, 2);
  CHECK(c.clock.connected_at() == clock_under_test::at(10'000.5));

  auto right = kafka(10'000);
  CHECK(right.record(0, 9999.5, 10'000, true) == 9999.5);
  right.observe(1, 10'000.5, 1);
  CHECK(right.clock.connected_at() == INT64_MIN);
  auto measured = kafka(10'000);
  CHECK(measured.record(0, 6400, 10'000) == 6400);
  measured.observe(1, 10'000.5, 1);
  CHECK(measured.clock.connected_at() == INT64_MIN);  // the broker's time is true
}

TEST_CASE("arrival clock: a record without a time arrives when it is read, or at the clock") {
  auto c = kafka();
  c.observe(0, 0, 0);
  CHECK(c.clock.read_record(0, arrival_clock::unknown, true, c.at(1)) == c.at(1));
  CHECK(c.clock.read_record(1, arrival_clock::unknown, true, c.at(100)) == c.at(1));
}

// ------------------------------------------------------------------------------------------------------------ gaps ---

TEST_CASE("arrival clock: a push source's time without a connection does not count") {
  auto c = spool();
  c.record(0, 5, 5);
  for (const double t : {5.0, 8.0, 10.0}) c.observe(1, t, 1);
  CHECK(c.reading() == 10);
  c.clock.disconnected(c.at(11));
  c.observe(1, 20, 1);  // not possible: ignored
  CHECK(c.reading() == 10);
  c.clock.connected(c.at(60));
  c.observe(1, 62, 1);
  CHECK(c.reading() == 13);  // 10 to 11, and 60 to 62
  CHECK(c.clock.behind() == 49 * s);
  CHECK(c.seconds(c.clock.connected_at()) == 11);
}

TEST_CASE("arrival clock: a message that is received before the connection is reported ends the gap") {
  auto c = spool();
  c.observe(0, 10, 0);
  c.clock.disconnected(c.at(10));
  CHECK(c.record(0, 59.9, 60) == 10);
  c.clock.connected(c.at(60));
  c.observe(1, 61, 1);
  CHECK(c.reading() == 11);
}

TEST_CASE("arrival clock: the downtime of a push source is a gap, that of a log is not") {
  for (const bool log : {true, false}) {
    auto before = log ? kafka() : spool();
    before.observe(0, 10, 0);
    CHECK(before.clock.unstored() > 0);
    const auto entry = before.clock.store();
    CHECK(before.clock.unstored() == 0);

    clock_under_test c(log, 100);
    c.clock.restore(entry, c.at(100));
    CHECK(c.reading() == 10);
    c.clock.connected(c.at(101));
    c.observe(0, 103, 0);
    CHECK(c.reading() == (log ? 103 : 12));
    CHECK(c.clock.connected_at() == (log ? INT64_MIN : c.at(10)));
    CHECK(c.clock.reading() + c.clock.behind() == c.at(103));
  }
}

TEST_CASE("arrival clock: records that were received before a stop are read first") {
  clock_under_test c(false, 100);
  c.clock.restore(std::to_string(c.at(10)) + " 0 " + std::to_string(INT64_MIN), c.at(100));
  CHECK(c.record(0, 9, 100) == 10);
  c.clock.connected(c.at(101));
  c.observe(1, 102, 1);
  CHECK(c.reading() == 11);
}

TEST_CASE("arrival clock: time in which a log's server did not respond counts as far as records prove it") {
  SUBCASE("nothing arrived: the server may have been down") {
    auto c = kafka();
    c.observe(0, 1, 0);
    c.observe(0, 31, 0);
    CHECK(c.reading() == 1);
    CHECK(c.seconds(c.clock.connected_at()) == 1);
    c.observe(0, 32, 0);
    CHECK(c.reading() == 2);
  }
  SUBCASE("records arrived throughout: the connection was cut, and all time counts") {
    auto c = kafka();
    c.observe(0, 1, 0);
    for (std::uint64_t p = 0; p < 30; ++p) c.record(p, 1 + static_cast<double>(p), 31);  // read before it is observed
    c.observe(30, 31, 30);
    CHECK(c.reading() == 31);
    CHECK(c.clock.connected_at() == INT64_MIN);
  }
  SUBCASE("the server was down, and the first record follows at once") {
    auto c = kafka();
    c.observe(0, 1, 0);
    CHECK(c.record(0, 31, 31.1) == 1);
    c.observe(1, 32, 1);
    CHECK(c.reading() == 2);
  }
  SUBCASE("a short pause of the observations is not a gap") {
    auto c = kafka();
    c.observe(0, 1, 0);
    c.observe(0, 5, 0);
    CHECK(c.reading() == 5);
  }
}

TEST_CASE("arrival clock: a push source that was not asked for a while proves only its records") {
  auto c = spool();
  c.observe(0, 1, 0);
  SUBCASE("no record") { c.observe(0, 61, 0); }
  SUBCASE("the connection was lost meanwhile, and that is noticed late") {
    c.clock.disconnected(c.at(60));
    c.clock.connected(c.at(61));
    c.observe(0, 61, 0);
  }
  CHECK(c.reading() == 1);
  c.observe(0, 62, 0);
  CHECK(c.reading() == 2);
}

TEST_CASE("arrival clock: a log whose server is down when the stream is assigned") {
  auto c = kafka(100);
  c.clock.restore(std::to_string(c.at(10)) + " 0 " + std::to_string(INT64_MIN), c.at(100));
  c.observe(0, 160, 0);
  CHECK(c.reading() == 100);  // the host's downtime counts, the server's does not
  CHECK(c.clock.behind() == 60 * s);
}

// ------------------------------------------------------------------------------------------------ stored, wall clock ---

TEST_CASE("arrival clock: an entry that is not valid is ignored") {
  for (const std::string entry : {"", "x", "1", "1 2", "12 -", "99999999999999999999 1 1"}) {
    auto c = kafka(100);
    c.clock.restore(entry, c.at(100));
    CHECK_FALSE(c.clock.started());
  }
}

TEST_CASE("arrival clock: if the machine's clock was set back while the host was down, the clock continues") {
  auto c = kafka(100);
  c.clock.restore(std::to_string(c.at(3700)) + " 0 " + std::to_string(INT64_MIN), c.at(100));
  CHECK(c.reading() == 3700);
  c.observe(0, 101, 0);
  CHECK(c.reading() == 3701);
  CHECK(c.clock.reading() + c.clock.behind() == c.at(101));
}

TEST_CASE("arrival clock: steps of the machine's clock do not change readings") {
  for (const bool log : {true, false}) {
    auto c = log ? kafka() : spool();
    c.observe(0, 10, 0);
    c.observe(5, 11, 0);
    for (const double by : {86400.0, -3600.0}) {
      const auto reading = c.reading();
      c.clock.wall_clock_moved(static_cast<std::int64_t>(by) * s);
      CHECK(c.reading() == reading);
    }
    const double moved = 86400 - 3600;
    c.observe(5, moved + 12, 5);
    CHECK(c.reading() == 12);
    CHECK(c.clock.reading() + c.clock.behind() == c.at(moved + 12));
  }
}

// Random operations on a model whose truth is known: no reading may be later than a record that is still unread.
TEST_CASE("arrival clock: it never passes the arrival of an unread record, and catches up with a live stream") {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto chance = [&](double p) { return std::uniform_real_distribution<>(0, 1)(random) < p; };
    auto c = kafka();
    std::vector<double> arrived;
    std::size_t read = 0;
    bool blocked = false;
    double last = -1;
    for (int tick = 1; tick < 600; ++tick) {
      const double now = tick * 0.25;
      if (chance(0.6)) arrived.push_back(now - 0.1);
      if (chance(0.02)) blocked = !blocked;
      if (tick % 4 == 0) c.clock.observe(arrived.size(), c.at(now), read, c.at(now));
      for (auto n = blocked ? 0 : 3; n > 0 && read < arrived.size(); --n, ++read) c.record(read, arrived[read], now);
      if (!c.clock.started()) continue;
      CHECK(c.reading() >= last);
      last = c.reading();
      if (read < arrived.size()) CHECK(last <= arrived[read]);
    }
    for (; read < arrived.size(); ++read) c.record(read, arrived[read], 150);
    c.observe(arrived.size(), 151, read);
    CHECK(c.reading() == 151);
    CHECK(c.clock.behind() == 0);
  }
}

// ------------------------------------------------------------------------------------------------- clocks of a lane ---

namespace {

// A machine whose clocks a test sets, in seconds.
struct machine {
  double wall = 0, running = 0;
  void pass(double seconds) { wall += seconds, running += seconds; }
  pl::engine::machine_clocks clocks() {
    return {[this] { return clock_under_test::at(wall); }, [this] { return static_cast<std::int64_t>(running * 1e9); }};
  }
};

}  // namespace

TEST_CASE("arrival clocks: none are kept unless they are wanted") {
  machine m;
  arrival_clocks clocks(true, m.clocks());
  clocks.assign("t/0", {});
  clocks.observe("t/0", 0, clock_under_test::at(0), 0);
  CHECK_FALSE(clocks.reading("t/0").has_value());
  CHECK_FALSE(clocks.store("t/0").has_value());
  clocks.want(true);
  clocks.assign("t/0", {});
  CHECK_FALSE(clocks.reading("t/0").has_value());  // nothing is known yet
  clocks.observe("t/0", 0, clock_under_test::at(0), 0);
  REQUIRE(clocks.reading("t/0").has_value());
  CHECK(clocks.reading("t/0")->now_ns == clock_under_test::at(0));
  clocks.revoke("t/0");
  CHECK_FALSE(clocks.reading("t/0").has_value());
}

TEST_CASE("arrival clocks: a stream is assigned after the source has connected") {
  machine m;
  m.pass(100);
  arrival_clocks clocks(false, m.clocks());
  clocks.want(true);
  clocks.receiving(true);
  m.pass(1);
  const auto entry = std::to_string(clock_under_test::at(10)) + " 0 " + std::to_string(INT64_MIN);
  clocks.assign("spool/a", entry);
  m.pass(1);
  clocks.observe("spool/a", 0, clock_under_test::at(m.wall), 0);
  CHECK(clocks.reading("spool/a")->now_ns == clock_under_test::at(12));
  CHECK(clocks.reading("spool/a")->behind_ns == 90 * s);
  clocks.receiving(false);
  m.pass(50);
  clocks.receiving(true);
  m.pass(1);
  clocks.observe("spool/a", 0, clock_under_test::at(m.wall), 0);
  CHECK(clocks.reading("spool/a")->now_ns == clock_under_test::at(13));
  CHECK(clocks.reading("spool/a")->connected_ns == clock_under_test::at(12));
}

TEST_CASE("arrival clocks: a step of the wall clock is noticed, and a suspended machine is not a step") {
  machine m;
  arrival_clocks clocks(true, m.clocks());
  clocks.want(true);
  clocks.assign("t/0", {});
  const auto observe = [&] { clocks.observe("t/0", 0, clock_under_test::at(m.wall), 0); };
  observe();
  m.pass(1);
  observe();
  m.wall += 86400;
  m.pass(1);
  observe();
  CHECK(clocks.reading("t/0")->now_ns == clock_under_test::at(2));
  CHECK(clocks.reading("t/0")->behind_ns == 86400 * s);
  m.wall -= 3600;
  m.pass(1);
  observe();
  CHECK(clocks.reading("t/0")->now_ns == clock_under_test::at(3));
  m.pass(3);
  observe();
  CHECK(clocks.reading("t/0")->now_ns == clock_under_test::at(6));
}
