// SPDX-License-Identifier: Apache-2.0
// Tests of missing_for, by the stream's time and, for a live stream, by the wall clock.
#include "harness.hpp"

using namespace threshold_alert::testing;

namespace {

pl::testing::config_value silent(config_fields more = {}) {
  config_fields fields{{"name", "silent"}, {"missing_for", 60s}};
  fields.insert(fields.end(), more.begin(), more.end());
  return object(fields);
}

}  // namespace

TEST_CASE("a silence by the stream's time fires one nanosecond after missing_for, not at missing_for") {
  harness h({silent()});
  h.feed({{0, {}, "a"}, {60, {}, "b"}});
  CHECK(h.take() == lines{});
  h.feed({{60.000000001, {}, "b"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
}

TEST_CASE("the next record resolves the alert and reports the length of the silence") {
  harness h({silent()});
  h.feed({{0, {}, "a"}, {100, {}, "b"}, {90, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a", "resolved warning 90 @90 a"});
}

TEST_CASE("the device's own next record reports the gap before it") {
  harness h({silent()});
  h.feed({{0, {}, "a"}, {100, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a", "resolved warning 100 @100 a"});
}

TEST_CASE("the wall clock applies only to a live stream") {
  harness h({silent()});
  h.feed({{0, {}, "a"}}, "telemetry/0", 5);
  h.tick(1000);
  CHECK(h.take() == lines{});
  h.feed({{1, {}, "b"}}, "telemetry/0", 0);
  h.tick(60);
  CHECK(h.take() == lines{});
  h.tick(60.5);
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
  h.tick(1000);
  CHECK(h.take() == lines{"firing warning 60 @61 b"});
  h.tick(2000);
  CHECK(h.take() == lines{});
  h.feed({{2000, {}, "a"}}, "telemetry/0", 0);
  CHECK(h.take() == lines{"resolved warning 2000 @2000 a"});
}

TEST_CASE("a stream that falls behind uses its own time again") {
  harness h({silent()});
  h.feed({{0, {}, "a"}}, "telemetry/0", 0);
  h.feed({{1, {}, "b"}}, "telemetry/0", 100);
  h.tick(1000);
  CHECK(h.take() == lines{});
}

TEST_CASE("the id is the same whether the wall clock or the stream's time detects the silence") {
  const auto id_of = [](harness& h) {
    REQUIRE(h.output().size() == 1);
    return std::string(pl::bytes_of(h.output()[0].data.get().at(0, 0)));
  };
  harness by_stream({silent()}), by_wall({silent()});
  by_stream.feed({{0, {}, "a"}, {61, {}, "b"}});
  by_wall.feed({{0, {}, "a"}}, "telemetry/0", 0);
  by_wall.tick(300);
  CHECK(id_of(by_stream) == id_of(by_wall));
  auto stream_row = by_stream.take_rows(), wall_row = by_wall.take_rows();
  CHECK(stream_row == wall_row);  // time, value and position are equal, too
}

TEST_CASE("alerts of a tick have a stream but no row positions; their column contains the device's last position") {
  harness h({silent()});
  h.feed({{0, {}, "x"}, {0, {}, "a"}}, "telemetry/0", 0);
  h.tick(61);
  REQUIRE(h.output().size() == 1);
  const auto b = h.output()[0].data.get();
  REQUIRE(b.ranges().size() == 1);
  CHECK(pl::view(b.ranges()[0].stream) == "telemetry/0");
  CHECK_FALSE(b.has_positions());
  REQUIRE(b.rows() == 2);
  CHECK(b.at(*b.find("position"), 0).as.i == 1);  // equal times are ordered by key: a before x
  CHECK(pl::bytes_of(b.at(*b.find("stream"), 0)) == "telemetry/0");
}

TEST_CASE("severities: a longer silence raises the severity") {
  harness h({object({{"name", "silent"},
                     {"severities", list({object({{"severity", "warning"}, {"missing_for", 60s}}),
                                          object({{"severity", "critical"}, {"missing_for", 10min}})})}})});
  h.feed({{0, {}, "a"}, {601, {}, "b"}, {602, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a", "changed critical 600 @600 a", "resolved critical 602 @602 a"});
}

TEST_CASE("a metric may be silent while its device is not") {
  harness h({object({{"name", "no_temperature"}, {"metric", "temperature"}, {"missing_for", 60s}})});
  h.feed({{0, real(20)},
          {50, pl::null_cell()},
          {61, pl::null_cell()},
          {62, real(21)},
          {0, {}, "never"},
          {500, {}, "never"}});
  CHECK(h.take() == lines{"firing warning 60 @60 d1", "resolved warning 62 @62 d1", "firing warning 60 @122 d1"});
}

TEST_CASE("old records do not end a silence and cause no further alerts") {
  harness h({silent()});
  h.feed({{10000, {}, "b"}, {0, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
  for (int t = 1; t < 100; ++t) h.feed({{t * 100.0, {}, "a"}});
  CHECK(h.take() == lines{});
  h.feed({{9940, {}, "a"}});
  CHECK(h.take() == lines{"resolved warning 9940 @9940 a"});
}

TEST_CASE("an alert is repeated at each interval, and once after a jump in time") {
  harness h({silent({{"repeat_interval", 100s}})});
  const auto others = [&h](double from, double to) {
    for (auto t = from; t <= to; t += 10) h.feed({{t, {}, "b"}});
  };
  h.feed({{0, {}, "a"}});
  others(0, 300);
  CHECK(h.take() == lines{"firing warning 60 @60 a", "firing warning 160 @160 a", "firing warning 260 @260 a"});
  others(310, 540);
  h.feed({{545, {}, "a"}});
  CHECK(h.take() == lines{"firing warning 360 @360 a", "firing warning 460 @460 a", "resolved warning 545 @545 a"});
  others(550, 1000);
  CHECK(h.take() == lines{"firing warning 60 @605 a", "firing warning 160 @705 a", "firing warning 260 @805 a",
                          "firing warning 360 @905 a"});

  harness leap({silent({{"repeat_interval", 100s}})});
  leap.feed({{0, {}, "a"}}, "telemetry/0", 0);
  leap.tick(1000);
  CHECK(leap.take() == lines{"firing warning 60 @60 a", "firing warning 960 @960 a"});
}

TEST_CASE("an intermittent device is flapping until it is steady") {
  harness h({silent({{"flapping", object({{"fires", 2}, {"within", 10min}})}})});
  h.feed({{0, {}, "a"}, {100, {}, "a"}, {200, {}, "a"}, {300, {}, "a"}}, "telemetry/0", 0);
  CHECK(h.take() == lines{"firing warning 60 @60 a", "resolved warning 100 @100 a", "flapping warning 60 @160 a"});
  for (double t = 320; t < 920; t += 20) h.feed({{t, {}, "a"}}, "telemetry/0", 0);
  h.feed({{930, {}, "a"}}, "telemetry/0", 0);
  CHECK(h.take() == lines{"resolved warning 800 @900 a"});
}

TEST_CASE("max_age: an old silence is published when the stream's time is within max_age, if it still lasts") {
  harness h(config_fields{{"max_age", 1h}, {"rules", list({silent()})}});
  h.tick(86400);
  h.feed({{0, {}, "a"}}, "telemetry/0", 10);
  for (double t = 0; t < 86400; t += 60) h.feed({{t, {}, "b"}}, "telemetry/0", t < 86340 ? 10 : 0);
  const auto published = h.take();
  REQUIRE(published.size() == 1);  // as soon as the stream's time is within max_age
  CHECK(published[0] == "firing warning 82860 @82860 a");
  CHECK(h.take(1) == lines{"firing warning 60 @60 a"});
  h.tick(86400);
  CHECK(h.take() == lines{});
  h.feed({{86400, {}, "a"}}, "telemetry/0", 0);
  CHECK(h.take() == lines{"resolved warning 86400 @86400 a"});
}

TEST_CASE("revoked stops the stream's timers") {
  harness h({silent()});
  h.feed({{0, {}, "a"}}, "telemetry/0", 0);
  h.revoked("telemetry/0");
  h.tick(1000);
  CHECK(h.take() == lines{});
}

TEST_CASE("an empty batch can mark the stream as live") {
  harness h({silent()});
  h.feed({{0, {}, "a"}}, "telemetry/0", 3);
  h.feed({}, "telemetry/0", 0);
  h.tick(61);
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
}

TEST_CASE("the wall clock may step back and forth") {
  harness h({silent()});
  h.feed({{0, {}, "a"}}, "telemetry/0", 0);
  h.tick(50);
  h.tick(-3600);
  CHECK(h.take() == lines{});
  h.tick(61);
  CHECK(h.take() == lines{"firing warning 60 @60 a"});
}
